"""Consumers over the API, and pull requests: what they answer and how they end."""

from tests.conformance.js_script import JetStreamScript, Step, api, make, pub, rest, script


def consumer(stream: str, name: str, /, **config: object) -> Step:
    """CONSUMER.CREATE of a durable."""
    body = {"stream_name": stream, "config": {"durable_name": name, "ack_policy": "explicit", **config}}
    return api(f"CONSUMER.CREATE.{stream}.{name}", body)


def pull(stream: str, name: str, body: object = None, **keywords) -> Step:
    """MSG.NEXT."""
    return api(f"CONSUMER.MSG.NEXT.{stream}.{name}", body, **keywords)


def about(stream: str, name: str) -> Step:
    """CONSUMER.INFO."""
    return api(f"CONSUMER.INFO.{stream}.{name}")


def filled(count: int = 5, **config: object) -> tuple[Step, ...]:
    """A stream with messages on two subjects."""
    return (make("S", **config), *(pub(f"S.{n % 2}", b"body %d" % n) for n in range(1, count + 1)))


SCRIPTS: list[JetStreamScript] = [
    script(
        "consumers come and go",
        *filled(),
        consumer("S", "a"),
        consumer("S", "a"),
        consumer("S", "b", filter_subject="S.1", description="second"),
        api("CONSUMER.DURABLE.CREATE.S.c", {"stream_name": "S", "config": {"durable_name": "c"}}),
        api("CONSUMER.NAMES.S"),
        api("CONSUMER.LIST.S", {"offset": 1}),
        about("S", "b"),
        about("S", "none"),
        api("CONSUMER.INFO.S.a", {"x": 1}),
        api("STREAM.INFO.S"),
        api("CONSUMER.DELETE.S.b"),
        api("CONSUMER.DELETE.S.b"),
        api("CONSUMER.NAMES.S"),
        api("CONSUMER.NAMES.NONE"),
        api("CONSUMER.LEADER.STEPDOWN.S.a"),
        api("CONSUMER.CREATE.S.d", b"{"),
        api("CONSUMER.CREATE.S.d", {"stream_name": "T", "config": {}}),
        consumer("S", "a", ack_policy="all"),
        consumer("S", "a", description="changed"),
        about("S", "a"),
    ),
    script(
        "consumers are created or updated",
        *filled(),
        api("CONSUMER.CREATE.S.u", {"stream_name": "S", "action": "update", "config": {"name": "u"}}),
        api("CONSUMER.CREATE.S.u", {"stream_name": "S", "action": "create", "config": {"name": "u"}}),
        api("CONSUMER.CREATE.S.u", {"stream_name": "S", "action": "create", "config": {"name": "u"}}),
        api(
            "CONSUMER.CREATE.S.u",
            {"stream_name": "S", "action": "create", "config": {"name": "u", "description": "other"}},
        ),
        api(
            "CONSUMER.CREATE.S.f.S.1",
            {"stream_name": "S", "config": {"name": "f", "filter_subject": "S.1", "ack_policy": "all"}},
        ),
        api(
            "CONSUMER.CREATE.S.g.S.1", {"stream_name": "S", "config": {"name": "g", "filter_subject": "S.0"}}
        ),
        consumer("S", "seq", deliver_policy="by_start_sequence", opt_start_seq=3),
        consumer("S", "last", deliver_policy="last"),
        consumer("S", "new", deliver_policy="new"),
        consumer("S", "per", deliver_policy="last_per_subject", filter_subject="S.*"),
        consumer("S", "late", deliver_policy="by_start_time", opt_start_time="2200-01-01T00:00:00Z"),
        consumer("S", "early", deliver_policy="by_start_time", opt_start_time="2001-01-01T00:00:00Z"),
    ),
    script(
        "limits of consumers",
        make("S", max_consumers=1),
        consumer("S", "a"),
        consumer("S", "b"),
        api("CONSUMER.DELETE.S.a"),
        consumer("S", "b"),
    ),
    script(
        "pulls that do not wait",
        *filled(3),
        consumer("S", "p"),
        pull("S", "p", {"batch": 5, "no_wait": True}, many=True),
        pull("S", "p", {"batch": 1, "no_wait": True}, many=True),
        pull("S", "p", {"batch": 2, "no_wait": True, "expires": 60_000_000}, many=True),
        about("S", "p"),
        pull("S", "none", {"batch": 1}, many=True),
    ),
    script(
        "pulls that are refused",
        *filled(2),
        consumer("S", "p", max_batch=3, max_expires=1_000_000_000, max_bytes=1000),
        pull("S", "p", {"batch": 4, "expires": 1_000_000}, many=True),
        pull("S", "p", {"batch": 1, "expires": 2_000_000_000}, many=True),
        pull("S", "p", {"batch": 1, "max_bytes": 1001}, many=True),
        pull("S", "p", {"batch": 1, "expires": 1000, "idle_heartbeat": 600}, many=True),
        pull("S", "p", b"{bad", many=True),
        pull("S", "p", {"batch": 1, "priority": 11}, many=True),
        pull("S", "p", {"batch": 1, "min_pending": 1}, many=True),
        api(
            "CONSUMER.CREATE.S.push",
            {"stream_name": "S", "config": {"name": "push", "deliver_subject": "here"}},
        ),
        pull("S", "push", {"batch": 1}, many=True),
        about("S", "push"),
    ),
    script(
        "pulls by bytes and time",
        *filled(3),
        consumer("S", "p"),
        pull("S", "p", {"batch": 10, "max_bytes": 120, "expires": 50_000_000}, many=True),
        pull("S", "p", {"batch": 1, "max_bytes": 10, "expires": 50_000_000}, many=True),
        pull("S", "p", {"batch": 10, "max_bytes": 10_000, "expires": 150_000_000}, many=True),
        pull("S", "p", {"batch": 1, "expires": 20_000_000}, many=True),
    ),
    script(
        "headers only",
        make("S"),
        pub("S.1", b"body", {"A": "b"}),
        pub("S.1", b"without"),
        consumer("S", "h", headers_only=True),
        pull("S", "h", {"batch": 3, "no_wait": True}, many=True),
    ),
    script(
        "paused consumers",
        *filled(2),
        consumer("S", "p"),
        api("CONSUMER.PAUSE.S.p", {"pause_until": "2200-01-01T00:00:00Z"}),
        pull("S", "p", {"batch": 1, "expires": 40_000_000}, many=True),
        api("CONSUMER.PAUSE.S.p", {"pause_until": "2001-01-01T00:00:00Z"}),
        pull("S", "p", {"batch": 3, "no_wait": True}, many=True),
        api("CONSUMER.PAUSE.S.p"),
        api("CONSUMER.PAUSE.S.none"),
    ),
    script(
        "consumers that begin again",
        *filled(3),
        consumer("S", "p"),
        pull("S", "p", {"batch": 9, "no_wait": True, "expires": 30_000_000}, many=True),
        api("CONSUMER.RESET.S.p", {"seq": 2}),
        about("S", "p"),
        pull("S", "p", {"batch": 9, "no_wait": True}, many=True),
        api("CONSUMER.RESET.S.p"),
        api("CONSUMER.RESET.S.none", silent=True),
        consumer("S", "n", deliver_policy="new"),
        api("CONSUMER.RESET.S.n", {"seq": 2}),
        consumer("S", "s", deliver_policy="by_start_sequence", opt_start_seq=2),
        api("CONSUMER.RESET.S.s", {"seq": 1}),
        rest(0.01),
    ),
    script(
        "work queues",
        *filled(4, retention="workqueue"),
        consumer("S", "a", filter_subject="S.1"),
        consumer("S", "b", filter_subject="S.>"),
        consumer("S", "b", ack_policy="none", filter_subject="S.0"),
        consumer("S", "b", filter_subject="S.0"),
        api("STREAM.INFO.S"),
    ),
    script(
        "interest streams",
        make("S", retention="interest"),
        pub("S.1", b"nobody"),
        consumer("S", "a", filter_subject="S.1"),
        pub("S.1", b"wanted"),
        pub("S.2", b"not wanted"),
        api("STREAM.INFO.S"),
        about("S", "a"),
    ),
]
