"""The fast way and the exact way of decoding agree, and the exact one takes and refuses what Go does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardbroker.protocol import go_json
from tests.protocol import wire_cases

KINDS = {
    "flag": go_json.boolean,
    "text": go_json.string,
    "count": go_json.int64,
    "small": go_json.uint8,
    "list": go_json.strings,
    "raw": go_json.base64_bytes,
    "rights": go_json.subject_permission,
}


def decode(text: bytes) -> dict | None:
    try:
        return go_json.decode_fields(text, KINDS)
    except go_json.GoJsonError:
        return None


def test_common_objects():
    assert decode(b'{"flag":true,"count":-5,"other":[1]}') == {"flag": True, "count": -5}
    assert decode(b'{"FLAG":false,"Text":"y"}') == {"flag": False, "text": "y"}
    assert decode(b'{"flag":null}') == {} == decode(b"null") == decode(b" {} ")
    assert decode(b'{"raw":"YWI="}') == {"raw": b"ab"}
    assert decode(b'{"list":["a",null]}') == {"list": ("a", "")}


def test_letters_that_fold_to_ascii():
    assert decode('{"li\u017ft":[]}'.encode()) == {"list": ()}
    assert go_json.decode_fields('{"\u212aey":"x"}'.encode(), {"key": go_json.string}) == {"key": "x"}
    assert decode('{"cóunt":"x"}'.encode()) == {}


def test_keys_given_twice():
    assert decode(b'{"text":"a","text":"b"}') == {"text": "b"}
    assert decode(b'{"text":"a","text":null}') == {"text": "a"}
    assert decode(b'{"text":"a","TEXT":"b","text":"c"}') == {"text": "c"}
    assert decode(b'{"text":1,"text":"b"}') is None


def test_bytes_that_are_no_text():
    assert decode(b'{"text":"\xff\xe2\x82x"}') == {"text": "\ufffd\ufffd\ufffdx"}
    assert decode(b'{"text":"\\ud800x"}') == {"text": "\ufffdx"}
    assert decode(b'{"text":"\\ud83d\\ude00"}') == {"text": "\U0001f600"}
    assert decode(b'{"list":["\\udc00"]}') == {"list": ("\ufffd",)}


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"1", b'"x"', b"{", b"{}x", b"{}{}", b"nul", b'{"flag":1}', b'{"flag":"true"}',
        b'{"text":1}', b'{"count":1.0}', b'{"count":1e3}', b'{"count":true}', b'{"count":"1"}',
        b'{"count":9223372036854775808}', b'{"small":256}', b'{"small":-1}', b'{"list":"a"}',
        b'{"list":[1]}', b'{"raw":"?"}', b'{"raw":"YWI"}', b'{"rights":[]}', b'{"rights":{"allow":"x"}}',
        b'{"other":NaN}', b'{"other":Infinity}', b'{"other":01}', b'{"other":"\x01"}', b'{"other":"\\x"}',
        b'{"text":"a",}', b"\xef\xbb\xbf{}", b'{"other":\xff}', b'{"other":' + b"[" * 3000,
    ],
)  # fmt: skip
def test_refused(text):
    assert decode(text) is None


def exact(text: bytes) -> dict | None:
    """The exact way only."""
    try:
        value = go_json._loads_exactly(text)
        return {} if value is None else go_json._known_fields(value.items(), KINDS)
    except (go_json.GoJsonError, AttributeError):
        return None


# Half a surrogate pair, letters that fold, what JSON escapes, and two that are nothing special.
texts = st.text('\ud800\udc00\u017f\u212a\U0001f600"\\\n:az', max_size=6)
names = st.sampled_from([*KINDS, "FLAG", "Text", "other", "COUNT"]) | texts
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(names, values, max_size=5))
def test_both_ways_agree(value):
    for ascii_only in (True, False):
        try:
            text = json.dumps(value, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            continue
        assert decode(text) == exact(text)


@pytest.mark.parametrize("text", wire_cases.CONNECT_ARGUMENTS + wire_cases.INFO_ARGUMENTS)
def test_both_ways_agree_on_the_arguments_known_from_nats_server(text):
    assert decode(text) == exact(text)
