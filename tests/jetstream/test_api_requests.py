"""Property: requests about streams are refused as by nats-server, and subjects with wrong tokens by silence.

Each body goes to a real nats-server, for a stream that does not exist where that shows what was read: it says
404 for a good body and complains otherwise. Direct gets need a stream, since nobody answers them without.
"""

import json
from collections.abc import Callable, Iterator

import pytest

from shardbroker.jetstream import api_requests, api_subjects
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.api_requests import DirectGetRefused
from tests.jetstream.judge import Judge


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    running = Judge()
    body = {"name": "direct", "subjects": ["d.>"], "allow_direct": True, "storage": "memory"}
    assert b'"error"' not in running.ask("$JS.API.STREAM.CREATE.direct", json.dumps(body).encode())
    yield running
    running.close()


BODIES = [
    b"", b"{}", b" {} ", b"null", b"[]", b"x", b"1", b'"a"', b"{", b'{"nope":1}', b'{"offset":-3}',
    b'{"offset":"a"}', b'{"subject":5}', b'{"subjects_filter":">","deleted_details":true}',
    b'{"deleted_details":"x"}', b'{"seq":-1}', b'{"seq":1}', b'{"seq":1,"keep":1}',
    b'{"keep":2,"filter":"a"}', b'{"filter":1}', b'{"seq":1,"no_erase":true}', b'{"last_by_subj":"a"}',
    b'{"next_by_subj":"a","seq":4}', b'{"last_by_subj":"a","next_by_subj":"b"}',
    b'{"seq":1,"last_by_subj":"a"}', b'{"seq":1,"start_time":"2020-01-01T00:00:00Z"}',
    b'{"start_time":"x"}', b'{"start_time":"2020-01-01T00:00:00Z","last_by_subj":"a"}',
    b'{"start_time":"2020-01-01T00:00:00Z"}', b'{"seq":1,"batch":2}', b'{"seq":1,"max_bytes":2}',
    b'{"seq":1,"batch":-2}', b'{"multi_last":["a"]}', b'{"multi_last":[1]}', b'{"multi_last":"a"}',
    b'{"up_to_time":5,"seq":1}', b'{"no_hdr":true}', b'{"last_by_subj":"a","batch":1}',
    b'{"last_by_subj":"a","multi_last":["b"]}', b'{"seq":1,"unknown":2}',
    b'{"next_by_subj":"a","multi_last":["b"]}', b'{"multi_last":["a"],"up_to_seq":1}', b'{"up_to_seq":3}',
    b'{"multi_last":["a"],"up_to_seq":1,"up_to_time":"2020-01-01T00:00:00Z"}',
]  # fmt: skip
READERS = [
    ("STREAM.NAMES", api_requests.read_names),
    ("STREAM.LIST", api_requests.read_list),
    ("STREAM.INFO.none", api_requests.read_info),
    ("STREAM.PURGE.none", api_requests.read_purge),
    ("STREAM.DELETE.none", api_requests.require_empty),
    ("STREAM.MSG.DELETE.none", api_requests.read_message_delete),
    ("STREAM.MSG.GET.none", api_requests.read_message_get),
]


@pytest.mark.parametrize(("call", "read"), READERS, ids=lambda value: value if isinstance(value, str) else "")
def test_bodies(judge: Judge, call: str, read: Callable[[bytes], object]) -> None:
    """Refused with the same error, or not refused."""
    outcomes = set()
    for body in BODIES:
        error = json.loads(judge.ask(f"$JS.API.{call}", body)).get("error")
        theirs = None if error is None or error["err_code"] == 10059 else error
        try:
            read(body)
            ours = None
        except ApiError as refused:
            ours = refused.as_dict()
        assert ours == theirs, body
        outcomes.add(ours is None)
    assert outcomes == {True, False}


def test_snapshot_and_restore(judge: Judge) -> None:
    """A snapshot's body is read once the stream is found; a restore's before all."""
    for body in (
        b'{"deliver_subject":1}', b'{"deliver_subject":"a.*"}', b'{"deliver_subject":""}',
        b'{"chunk_size":"x"}', b'{"jsck":1}', b'{"nope":1}',
    ):  # fmt: skip
        theirs = json.loads(judge.ask("$JS.API.STREAM.SNAPSHOT.direct", body))["error"]
        with pytest.raises(ApiError) as caught:
            api_requests.read_snapshot(body)
        assert caught.value.as_dict() == theirs
    for body in (
        b"", b'{"config":1}', b'{"config":{"name":1}}', b'{"config":{"nope":1}}', b'{"state":[]}',
        b'{"state":{"first_ts":"x"}}', b'{"state":{"subjects":{"a":-1}}}',
        b'{"state":{"lost":{"msgs":["x"]}}}',
    ):  # fmt: skip
        theirs = json.loads(judge.ask("$JS.API.STREAM.RESTORE.none", body))["error"]
        with pytest.raises(ApiError) as caught:
            api_requests.read_restore(body)
        assert caught.value.as_dict() == theirs
    restore = api_requests.read_restore(b'{"config":{"name":"a"},"state":{"messages":3,"lost":null}}')
    assert (restore.config.name, restore.state["messages"]) == ("a", 3)


def test_sizes_of_snapshots() -> None:
    """The wishes of the client, bent to the limits."""
    request = api_requests.read_snapshot(b'{"deliver_subject":"d"}')
    assert (request.chunk_size_used(), request.window_size_used()) == (128 << 10, 8 << 20)
    request = api_requests.read_snapshot(b'{"deliver_subject":"d","chunk_size":1,"window_size":999999999}')
    assert (request.chunk_size_used(), request.window_size_used()) == (1 << 10, 32 << 20)


def status_of(answer: bytes) -> str:
    """``404 Message Not Found`` of a header block."""
    return answer.split(b"\r\n", 1)[0].removeprefix(b"NATS/1.0 ").decode()


def test_direct_gets(judge: Judge) -> None:
    """The stream is empty, so that what is not refused finds nothing."""
    refused = 0
    for body in BODIES:
        for subject in ("", ".d.1"):
            theirs = status_of(judge.ask(f"$JS.API.DIRECT.GET.direct{subject}", body))
            try:
                if subject:
                    api_requests.read_direct_get_of_subject("d.1", body)
                else:
                    api_requests.read_direct_get(body)
                assert theirs.startswith(("404 ", "204 ")), (theirs, body)
            except DirectGetRefused as error:
                assert error.status == theirs, body
                refused += 1
    assert refused > 20
    assert api_requests.read_direct_get_of_subject("d.1", b'{"no_hdr":true}').last_by_subj == "d.1"


def test_required_level(judge: Judge) -> None:
    """Numbers up to the server's; what is no number is refused."""
    for value in ("0", "5", "6", "-1", "+5", "x", "5.0", "", " 5", "99999999999999999999"):
        headers = f"NATS/1.0\r\nNats-Required-Api-Level: {value}\r\n\r\n".encode()
        theirs = b'"err_code":10185' in judge.ask("$JS.API.STREAM.NAMES", b"", headers)
        assert api_requests.is_level_too_high(value.strip().encode()) == theirs, value


def test_subjects() -> None:
    """Kinds and names."""
    split = api_subjects.split
    assert split("$JS.API.INFO") == ("INFO", ())
    assert split("$JS.API.STREAM.INFO.a") == ("STREAM.INFO", ("a",))
    assert split("$JS.API.STREAM.MSG.GET.a") == ("STREAM.MSG.GET", ("a",))
    assert split("$JS.API.CONSUMER.CREATE.a") == ("CONSUMER.CREATE", ("a",))
    assert split("$JS.API.CONSUMER.CREATE.a.b") == ("CONSUMER.CREATE", ("a", "b"))
    assert split("$JS.API.CONSUMER.CREATE.a.b.c.>") == ("CONSUMER.CREATE", ("a", "b", "c.>"))
    assert split("$JS.API.CONSUMER.DURABLE.CREATE.a.b") == ("CONSUMER.DURABLE.CREATE", ("a", "b"))
    assert split("$JS.API.DIRECT.GET.a") == ("DIRECT.GET", ("a",))
    assert split("$JS.API.DIRECT.GET.a.b.c") == ("DIRECT.GET", ("a", "b.c"))
    assert split("$JS.API.ACCOUNT.STREAM.MOVE.a.b") == ("ACCOUNT.STREAM.MOVE", ("a", "b"))
    assert split("$JS.API.META.LEADER.STEPDOWN").kind in api_subjects.SYSTEM_KINDS
    assert api_subjects.without_domain("$JS.hub.API.STREAM.INFO.a", "hub") == "$JS.API.STREAM.INFO.a"
    assert api_subjects.without_domain("$JS.hub.API.$KV.b.k", "hub") == "$KV.b.k"
    assert api_subjects.without_domain("$JS.API.INFO", "") is None
    assert api_subjects.without_domain("$JS.hub2.API.INFO", "hub") is None


def test_calls_of_our_own() -> None:
    """They have a prefix of their own, and none of them is a call of nats-server."""
    split = api_subjects.split
    assert split("$SHARDBROKER.CONSUMER.EXPLAIN.S.c") == ("CONSUMER.EXPLAIN", ("S", "c"))
    for subject in (
        "$SHARDBROKER.CONSUMER.EXPLAIN.S",
        "$SHARDBROKER.CONSUMER.EXPLAIN.S.c.d",
        "$SHARDBROKER.STREAM.INFO.S",
        "$JS.API.CONSUMER.EXPLAIN.S.c",
    ):
        assert split(subject) is None


def test_silence(judge: Judge) -> None:
    """Who asks with a wrong number of tokens hears nothing."""
    for subject in ("$JS.API.INFO.x", "$JS.API.STREAM.INFO", "$JS.API.STREAM.INFO.a.b", "$JS.API.NOPE"):
        assert api_subjects.split(subject) is None
        judge.client.publish(subject, b"", "_INBOX.judge.silence")
    judge.client.flush()
    assert judge.ask("$JS.API.INFO") is not None
    assert judge.client.read_available(0.2) == []
    for subject in ("$JS.API", "$JS.API.", "$JS.API.STREAM.INFO.", "$JS.API..INFO", "$JS.APIX.INFO", "a"):
        assert api_subjects.split(subject) is None
