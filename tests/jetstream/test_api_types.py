"""Property: answers built from plain values are, byte for byte, the answers of nats-server.

A real answer is taken apart, its values go into the builders, and what these make must be the same bytes. The
schemas that clients are generated from accept it too.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from shardbroker.jetstream import api_errors, api_subjects, api_types
from shardbroker.jetstream.go_encoding import ZERO_TIME, encode, format_time, parse_time
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.stream_config import read_config_request
from tests.jetstream.judge import Judge

SCHEMAS = Path(__file__).resolve().parents[1] / "data" / "schemas"


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    running = Judge()
    yield running
    running.close()


def assert_built(raw: bytes, built: dict) -> None:
    """The same bytes, and as the schema wants it if there is one."""
    assert encode(built) == raw
    path = SCHEMAS / (built["type"].rsplit(".", 1)[1] + ".json")
    # The schemas of lists want the list's fields also beside an error.
    if path.exists() and "error" not in built:
        jsonschema.validate(json.loads(raw), json.loads(path.read_text()))


def state_of(answer: dict) -> dict:
    """The state of an answer, through the builder."""
    state = answer["state"]
    return api_types.stream_state(
        messages=state["messages"],
        size=state["bytes"],
        first_seq=state["first_seq"],
        first_time=None if state["first_ts"].startswith("0001") else parse_time(state["first_ts"]),
        last_seq=state["last_seq"],
        last_time=parse_time(state["last_ts"]),
        consumers=state["consumer_count"],
        subjects_count=state.get("num_subjects", 0),
        subjects=state.get("subjects"),
        deleted_count=state.get("num_deleted", 0),
        deleted=state.get("deleted"),
    )


def info_of(answer: dict, **changed: object) -> dict:
    """The info of an answer, through the builder."""
    version = answer["config"]["metadata"].pop("_nats.ver", None)
    answer["config"]["metadata"].pop("_nats.level", None)
    config = read_config_request(json.dumps(answer["config"]).encode())[0]
    return api_types.stream_info(
        config=config.to_json_dict(version),
        created=parse_time(answer["created"]),
        state=state_of(answer),
        now=parse_time(answer["ts"]),
        leader=answer.get("cluster", {}).get("leader", ""),
        **changed,
    )


def test_the_life_of_a_stream(judge: Judge) -> None:
    """Created, filled, looked at in every detail, purged, listed, deleted."""
    body = json.dumps({"name": "s", "subjects": ["s.>"], "metadata": {"z": "<", "a": ""}}).encode()
    raw = judge.ask("$JS.API.STREAM.CREATE.s", body)
    info = info_of(json.loads(raw))
    assert_built(raw, api_types.answer("STREAM.CREATE", {**info, "did_create": True}))
    for subject in ("s.b", "s.a", "s.b", "s.c"):
        judge.ask(subject, b"x" * 10)
    raw = judge.ask("$JS.API.STREAM.MSG.DELETE.s", b'{"seq":2}')
    assert_built(raw, api_types.success("STREAM.MSG.DELETE"))
    raw = judge.ask("$JS.API.STREAM.INFO.s", b'{"subjects_filter":">","deleted_details":true}')
    answer = json.loads(raw)
    assert_built(raw, api_types.stream_info_answer(info_of(answer), subjects_total=answer["total"]))
    assert answer["state"]["deleted"] == [2]
    raw = judge.ask("$JS.API.STREAM.INFO.s")
    assert_built(raw, api_types.stream_info_answer(info_of(json.loads(raw))))
    raw = judge.ask("$JS.API.STREAM.UPDATE.s", body)
    assert_built(raw, api_types.answer("STREAM.UPDATE", info_of(json.loads(raw))))
    raw = judge.ask("$JS.API.STREAM.PURGE.s")
    assert_built(raw, api_types.success("STREAM.PURGE", purged=3))
    raw = judge.ask("$JS.API.STREAM.LIST")
    infos = [info_of(info) for info in json.loads(raw)["streams"]]
    assert_built(raw, api_types.list_page("STREAM.LIST", infos, total=1, offset=0))
    raw = judge.ask("$JS.API.STREAM.NAMES", b'{"offset":7}')
    assert_built(raw, api_types.names_page("STREAM.NAMES", ["s"], 7))
    raw = judge.ask("$JS.API.STREAM.DELETE.s")
    assert_built(raw, api_types.success("STREAM.DELETE"))


def test_stored_messages(judge: Judge) -> None:
    """With and without headers and payload."""
    judge.ask("$JS.API.STREAM.CREATE.m", b'{"name":"m"}')
    judge.ask("m", b"payload<>", b"NATS/1.0\r\nA: b\r\n\r\n")
    judge.ask("m", b"")
    for body in (b'{"seq":1}', b'{"seq":1,"no_hdr":true}', b'{"seq":2}'):
        raw = judge.ask("$JS.API.STREAM.MSG.GET.m", body)
        message = json.loads(raw)["message"]
        built = api_types.stored_message(
            subject="m",
            seq=message["seq"],
            headers=b"NATS/1.0\r\nA: b\r\n\r\n" if message["seq"] == 1 else b"",
            payload=base64.b64decode(message.get("data", "")),
            time=parse_time(message["time"]),
            without_headers=b"no_hdr" in body,
        )
        assert_built(raw, api_types.answer("STREAM.MSG.GET", {"message": built}))
    judge.ask("$JS.API.STREAM.DELETE.m")


def test_nothing_there(judge: Judge) -> None:
    """Empty lists, and every error of a stream that does not exist."""
    judge.ask("$JS.API.STREAM.CREATE.e", b'{"name":"e"}')
    for kind, body in (("CONSUMER.NAMES", b""), ("CONSUMER.LIST", b"")):
        raw = judge.ask(f"$JS.API.{kind}.e", body)
        built = (
            api_types.names_page(kind, [], 0)
            if kind == "CONSUMER.NAMES"
            else api_types.list_page(kind, [], total=0, offset=0)
        )
        assert_built(raw, built)
    judge.ask("$JS.API.STREAM.DELETE.e")
    assert_built(judge.ask("$JS.API.STREAM.NAMES"), api_types.names_page("STREAM.NAMES", [], 0))
    assert_built(judge.ask("$JS.API.STREAM.LIST"), api_types.list_page("STREAM.LIST", [], total=0, offset=0))
    not_found = api_errors.STREAM_NOT_FOUND
    for kind, body in (
        ("STREAM.INFO", b""), ("STREAM.DELETE", b""), ("STREAM.PURGE", b""),
        ("STREAM.UPDATE", b'{"name":"x"}'), ("STREAM.MSG.GET", b'{"seq":1}'),
        ("STREAM.MSG.DELETE", b'{"seq":1}'), ("CONSUMER.NAMES", b""), ("CONSUMER.LIST", b""),
        ("STREAM.SNAPSHOT", b'{"deliver_subject":"a"}'),
    ):  # fmt: skip
        assert_built(judge.ask(f"$JS.API.{kind}.x", body), api_types.refusal(kind, not_found))
    for kind, body in (("CONSUMER.PAUSE", b"{}"), ("CONSUMER.INFO", b""), ("CONSUMER.DELETE", b"")):
        assert_built(judge.ask(f"$JS.API.{kind}.x.y", body), api_types.refusal(kind, not_found))
    bad_json = api_errors.INVALID_JSON(err="unexpected EOF")
    for kind, subject in (("STREAM.NAMES", "STREAM.NAMES"), ("STREAM.LIST", "STREAM.LIST")):
        assert_built(judge.ask(f"$JS.API.{subject}", b"{"), api_types.refusal(kind, bad_json))
    raw = judge.ask("$JS.API.STREAM.RESTORE.x")
    assert_built(raw, api_types.refusal("STREAM.RESTORE", api_errors.BAD_REQUEST))


def test_only_for_clusters(judge: Judge) -> None:
    """A single server refuses what moves replicas."""
    required = api_errors.CLUSTER_REQUIRED
    assert len(api_subjects.CLUSTER_KINDS) == 7
    for kind in sorted(api_subjects.CLUSTER_KINDS):
        names = "x.y" if kind.startswith("CONSUMER.") else "x"
        assert_built(judge.ask(f"$JS.API.{kind}.{names}"), api_types.refusal(kind, required))


def test_info_of_the_account(judge: Judge) -> None:
    """Without limits, as an account has it that nobody configured."""
    raw = judge.ask("$JS.API.INFO")
    answer = json.loads(raw)
    built = api_types.account_info(
        memory=answer["memory"],
        storage=answer["storage"],
        reserved_memory=answer["reserved_memory"],
        reserved_storage=answer["reserved_storage"],
        streams=answer["streams"],
        consumers=answer["consumers"],
        limits=JetStreamLimits(),
        requests=answer["api"]["total"],
        errors=answer["api"]["errors"],
        inflight=answer["api"].get("inflight", 0),
    )
    assert_built(raw, built)


def test_mirrors_and_domains(judge: Judge) -> None:
    """The parts that only some streams have, in their places."""
    judge.ask("$JS.API.STREAM.CREATE.o", b'{"name":"o"}')
    body = b'{"name":"mi","mirror":{"name":"o","filter_subject":"o"}}'
    raw = judge.ask("$JS.API.STREAM.CREATE.mi", body)
    answer = json.loads(raw)
    mirror = api_types.stream_source_info(
        name="o",
        lag=answer["mirror"]["lag"],
        active=answer["mirror"]["active"],
        filter_subject=answer["mirror"].get("filter_subject", ""),
    )
    info = info_of(answer, mirror=mirror)
    assert_built(raw, api_types.answer("STREAM.CREATE", {**info, "did_create": True}))
    for name in ("o", "mi"):
        judge.ask(f"$JS.API.STREAM.DELETE.{name}")
    source = api_types.stream_source_info(
        name="a", lag=1, external={"api": "p", "deliver": ""}, error=api_errors.STREAM_NOT_FOUND,
        subject_transforms=[{"src": "a", "dest": "b"}],
    )  # fmt: skip
    info = api_types.stream_info(
        config={}, created=0, state={}, now=1, domain="hub", sources=[source], alternates=[{"name": "x"}]
    )
    assert list(info) == ["config", "created", "state", "domain", "sources", "alternates", "ts"]
    assert list(source) == ["name", "external", "lag", "active", "error", "subject_transforms"]


def test_pages() -> None:
    """A page has at most as many entries as the limit says, and begins where it was asked to."""
    names = [f"n{index:05}" for index in range(3000)]
    page = api_types.names_page("STREAM.NAMES", names, 1000)
    assert (page["total"], page["offset"], page["limit"], len(page["streams"])) == (3000, 1000, 1024, 1024)
    assert page["streams"][0] == "n01000"
    listed = api_types.list_page("STREAM.LIST", [], total=2, offset=0, offline={"b": "why", "a": "so"})
    assert (listed["missing"], list(listed["offline"])) == (["a", "b"], ["a", "b"])
    lost = api_types.stream_state(
        messages=0, size=0, first_seq=2, first_time=None, last_seq=1, last_time=0, consumers=0, lost=([1], 10)
    )
    assert lost["lost"] == {"msgs": [1], "bytes": 10}
    assert lost["first_ts"] == format_time(ZERO_TIME)
