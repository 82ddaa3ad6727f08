"""Random publishes with headers of all kinds: every answer, figure and stored message is nats-server's.

Messages come in bursts, so that checks must see what is still in flight. Headers are drawn so that about half
of the messages are accepted; what is compared includes sequences, texts and bytes of stored headers. Times
that either side adds by itself do not occur.
"""

import random

import pytest

from tests.jetstream.publish_judge import PublishJudge, block_of
from tests.jetstream.reference_stream import NO_NATS_SERVER, NO_NATS_SERVER_REASON

pytestmark = pytest.mark.skipif(NO_NATS_SERVER, reason=NO_NATS_SERVER_REASON)

SEEDS = range(2)
MESSAGES = 150

CONFIGS = {
    "plain": {},
    "rollups": {"allow_rollup_hdrs": True, "allow_msg_ttl": True, "max_msgs_per_subject": 3},
    "small": {"max_msgs": 5, "max_msg_size": 100, "allow_rollup_hdrs": True},
    "bytes": {"max_bytes": 400, "storage": "file"},
    "new": {"max_msgs": 30, "discard": "new"},
    "new_bytes": {"max_bytes": 3000, "discard": "new"},
    "new_per_subject": {
        "max_msgs_per_subject": 4, "discard": "new", "discard_new_per_subject": True,
        "allow_rollup_hdrs": True,
    },
    "new_subject_limit": {"max_msgs_per_subject": 2, "max_msgs": 5, "discard": "new"},
    "markers": {"allow_msg_ttl": True, "subject_delete_marker_ttl": 10**10, "max_age": 10**12},
    "counter": {"allow_msg_counter": True},
    "schedules": {"allow_msg_schedules": True, "allow_msg_ttl": True},
    "batches": {"allow_atomic": True, "allow_batched": True, "allow_rollup_hdrs": True},
    "file": {"storage": "file", "allow_rollup_hdrs": True, "first_seq": 100},
    "transform": {},
    "interest": {"retention": "interest"},
}  # fmt: skip


def draw_headers(draw: random.Random, name: str, last: int, rate: float) -> dict[str, object]:
    """Some headers, with values that may be right."""
    subject = f"{name}.{draw.choice('abc')}"
    values = {
        "Nats_Msg_Id": [draw.choice("abcdefghij"), "", draw.randrange(1000)],
        "Nats_Expected_Stream": [name, "other", ""],
        "Nats_Expected_Last_Sequence": [last, last, 0, 3, "x", "", "-1", "+1"],
        "Nats_Expected_Last_Subject_Sequence": [0, last, draw.randrange(10), "x", ""],
        "Nats_Expected_Last_Subject_Sequence_Subject": [subject, f"{name}.>", f"{name}.*", "zz", "", "a b"],
        "Nats_Expected_Last_Msg_Id": [draw.choice("abcdefghij"), "", "z"],
        "Nats_Rollup": ["sub", "all", "SUB", "zz", ""],
        "Nats_TTL": ["100", "1h", "never", "0", "500ms", "x", "", "00", "7s", "-1"],
        "Nats_Incr": ["1", "-5", "+3", "x", "", "1.0", "9" * 30],
        "Nats_Required_Api_Level": ["1", "99", "x"],
        "Nats_Stream_Source": ["x", ""],
        "Nats_Schedule": ["@at 2099-01-01T00:00:00Z", "@every 1h", "0 0 0 1 1 *", "x", ""],
        "Nats_Schedule_Target": [subject, f"{name}.target", "elsewhere", f"{name}.*", ""],
        "Nats_Schedule_Source": [subject, f"{name}.source", ""],
        "Nats_Schedule_TTL": ["5s", "x", ""],
        "Nats_Schedule_Time_Zone": ["Europe/Berlin", "Nowhere", ""],
        "Nats_Schedule_Rollup": ["sub", "all", ""],
        "Nats_Scheduler": [subject, f"{name}.a", ""],
        "Nats_Schedule_Next": ["purge", "2099-01-01T00:00:00Z", ""],
        "Nats_Batch_Sequence": ["1", "2"],
        "Nats_Batch_Commit": ["1"],
        "Other": ["value", "", " blank in front"],
    }
    headers = {}
    for header in draw.sample(list(values), len(values)):
        if draw.random() < rate:
            headers[header] = draw.choice(values[header])
    return headers


def focus(config: str, draw: random.Random, name: str, headers: dict[str, object]) -> None:
    """Bring the headers in that a configuration is about."""
    if config == "counter" and draw.random() < 0.8:
        headers["Nats_Incr"] = draw.choice(["1", "-2", "+3", "100000000000000000000"])
    if config == "schedules" and draw.random() < 0.5:
        headers["Nats_Schedule"] = draw.choice(["@at 2099-01-01T00:00:00Z", "@every 1h"])
        headers["Nats_Schedule_Target"] = f"{name}.target"
    if config == "schedules" and draw.random() < 0.2:
        headers["Nats_Schedule_Next"] = "purge"
        headers["Nats_Scheduler"] = f"{name}.{draw.choice('abc')}"


@pytest.fixture(scope="module")
def judge():
    with PublishJudge() as running:
        yield running


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("config", CONFIGS)
def test_random_publishes(judge: PublishJudge, config: str, seed: int) -> None:
    draw = random.Random(f"{config} {seed}")
    name = f"{config}{seed}"
    changed = {
        key: {k: v.replace(config, name, 1) for k, v in value.items()}
        if key == "subject_transform"
        else value
        for key, value in CONFIGS[config].items()
    }
    face = judge.make(name, **changed)
    number = 0
    while number < MESSAGES:
        batch = []
        # Messages in flight that will push out one another by their bytes are not foreseen exactly.
        count = 1 if "max_bytes" in changed and "discard" not in changed else draw.choice([1, 5, 25])
        for place in range(count):
            number += 1
            rate = draw.choice([0, 0.03, 0.08, 0.2])
            headers = draw_headers(draw, name, face.stream.last_sequence + len(batch), rate)
            focus(config, draw, name, headers)
            payload = b"" if config == "counter" and draw.random() < 0.9 else b"x" * draw.randrange(60)
            # The last one has a reply, so that nats-server is known to be done with all.
            reply = "" if place < count - 1 and draw.random() < 0.1 else f"_R.{name}.{number}"
            batch.append((f"{name}.{draw.choice('abc')}", reply, block_of(**headers), payload))
        judge.same(face, batch)
