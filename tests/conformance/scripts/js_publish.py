"""Publishing to streams: acks, headers, limits and what is done with a message once it is stored."""

from tests.conformance.js_script import (
    JetStreamScript,
    api,
    change,
    direct,
    get,
    info,
    listen,
    make,
    pub,
    rest,
    script,
)

_SECOND = 10**9


def expectations(**config: object):
    """Headers that a publish is refused for."""
    expected, subject = "Nats-Expected-Last-Sequence", "Nats-Expected-Last-Subject-Sequence"
    return (
        make("E", **config),
        pub("E.1", b"a", {"Nats-Msg-Id": "one"}),
        pub("E.1", b"a", {"Nats-Msg-Id": "one"}),
        pub("E.2", b"b", {"Nats-Msg-Id": "one"}),
        *(pub("E.1", b"b", {"Nats-Expected-Stream": name}) for name in ("E", "F", "", "e")),
        *(
            pub("E.1", b"b", {expected: text})
            for text in ("0", "1", "2", "3", "99", "x", "-1", "", " 2", "2x", "18446744073709551616")
        ),
        *(pub("E.1", b"b", {subject: text}) for text in ("0", "1", "2", "3", "4", "5", "x", "")),
        pub("E.new", b"b", {subject: "0"}),
        pub("E.new", b"b", {subject: "0"}),
        *(
            pub("E.1", b"b", {subject: text, subject + "-Subject": filter_})
            for text in ("0", "6")
            for filter_ in ("E.new", "E.*", "E.none", ">", "bad..x", "")
        ),
        pub("E.1", b"b", {subject + "-Subject": "E.1"}),
        *(pub("E.1", b"b", {"Nats-Expected-Last-Msg-Id": text}) for text in ("one", "two", "")),
        pub("E.1", b"c", {"Nats-Msg-Id": "two", "Nats-Expected-Last-Msg-Id": "one"}),
        pub("E.1", b"c", {"Nats-Msg-Id": "two", expected: "99"}),
        pub("E.1", b"c", {"Nats-Msg-Id": "three", "Nats-Expected-Last-Msg-Id": "two"}),
        pub("E.1", b"c", {"Nats-Msg-Id": ""}),
        pub("E.1", b"c", {"Nats-Msg-Id": ""}),
        *(pub("E.1", b"c", {"Nats-Required-Api-Level": text}) for text in ("1", "99", "x")),
        pub("E.1", b"c", {"Nats-Incr": "1"}),
        pub("E.1", b"c", {"Nats-Incr": "x"}),
        pub("E.1", b"c", {"Nats-Batch-Id": "x", "Nats-Batch-Sequence": "1"}),
        pub("E.1", b"c", {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "E.2"}),
        pub("E.1", b"c", {"Nats-Stream-Source": "x 1"}),
        pub("E.1", b"c", {"Nats-Request-Info": "x"}),
        pub("E.1", b"c", b"NATS/1.0 503\r\n\r\n"),
        pub("E.1", b"c", b"NATS/1.0\r\nnats-msg-id: low\r\n\r\n"),
        pub("E.1", b"c", b"NATS/1.0\r\nnats-msg-id: low\r\n\r\n"),
        pub("E.1", b"c", b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n"),
        pub("E.1", b"c", b"NATS/1.0 100 Idle\r\nA: 1\r\n\r\n"),
        info("E", subjects_filter=">"),
        *(get("E", seq=n) for n in range(1, 22)),
    )


def rollups(**config: object):
    """Nats-Rollup where it may and may not be."""
    return (
        make("R", allow_rollup_hdrs=True, **config),
        *(pub(f"R.{n % 3}", b"x") for n in range(6)),
        pub("R.1", b"new", {"Nats-Rollup": "sub"}),
        info("R", subjects_filter=">", deleted_details=True),
        *(pub(f"R.{letter}.x", b"x") for letter in "abcab"),
        pub("R.*.x", b"wild", {"Nats-Rollup": "sub"}),
        info("R", subjects_filter=">", deleted_details=True),
        pub("R.1", b"bad", {"Nats-Rollup": "zz"}),
        pub("R.1", b"bad", {"Nats-Rollup": ""}),
        pub("R.1", b"bad", {"Nats-Rollup": "SUB"}),
        pub("R.4", b"all", {"Nats-Rollup": "all"}),
        info("R", subjects_filter=">", deleted_details=True),
        pub("R.4", b"id", {"Nats-Rollup": "sub", "Nats-Msg-Id": "a"}),
        pub("R.4", b"id", {"Nats-Rollup": "sub", "Nats-Msg-Id": "a"}),
        info("R", subjects_filter=">", deleted_details=True),
        get("R", last_by_subj="R.4"),
        change("R", deny_purge=True, allow_rollup_hdrs=False, **config),
        pub("R.1", b"x", {"Nats-Rollup": "sub"}),
        make("Q", **config),
        pub("Q.1", b"x", {"Nats-Rollup": "sub"}),
        pub("Q.1", b"x", {"Nats-Rollup": "zz"}),
        info("Q"),
    )


def limits(**config: object):
    """Each limit with both ways to discard."""
    steps = []
    for discard in ("old", "new"):
        for number, limit in enumerate(
            (
                {"max_msgs": 3},
                {"max_bytes": 120},
                {"max_msgs_per_subject": 2},
                {"max_msgs_per_subject": 2, "discard_new_per_subject": True},
                {"max_msgs": 4, "max_msgs_per_subject": 1},
                {"max_msg_size": 5},
                {"max_bytes": 60},
                {"max_msgs": 3, "max_msgs_per_subject": 1, "discard_new_per_subject": True},
            )
        ):
            # nats-server may find remains when a deleted stream's name is used again at once.
            name = f"{discard}{number}"
            if limit.get("discard_new_per_subject") and discard == "old":
                continue
            steps += [
                make(name, discard=discard, **limit, **config),
                *(pub(f"{name}.{n % 2}", b"%d" % n) for n in range(7)),
            ]
            steps += [
                pub(f"{name}.h", b"12345", {"H": "x"}),
                pub(f"{name}.9", b"123456"),
                info(name, subjects_filter=">", deleted_details=True),
            ]
            steps += [
                api(f"STREAM.PURGE.{name}"),
                pub(f"{name}.1"),
                pub(f"{name}.1", b"x" * 200),
                info(name),
                api(f"STREAM.DELETE.{name}"),
            ]
    return tuple(steps)


def lifetimes(**config: object):
    """Nats-TTL, max_age and delete markers."""
    return (
        make("L", allow_msg_ttl=True, allow_direct=True, **config),
        *(
            pub("L.bad", b"x", {"Nats-TTL": text})
            for text in ("0", "-1", "x", "500ms", "1", "1s", "1h5m", "never", "Never", "", "1.5s", " 1")
        ),
        make("M", subject_delete_marker_ttl=5 * _SECOND, allow_direct=True, **config),
        pub("M.short", b"x", {"Nats-TTL": "1"}),
        pub("M.one", b"x"),
        pub("M.ttl", b"x", {"Nats-TTL": "1s", "A": "b"}),
        make("G", max_age=_SECOND, subject_delete_marker_ttl=2 * _SECOND, allow_direct=True, **config),
        pub("G.1", b"x"),
        pub("G.1", b"y"),
        pub("G.2", b"z", {"Nats-TTL": "never"}),
        make("X", **config),
        pub("X.1", b"x", {"Nats-TTL": "1"}),
        pub("X.1", b"x", {"Nats-TTL": "never"}),
        pub("X.1", b"x", {"Nats-TTL": "x"}),
        pub("X.1", b"x", {"Nats-TTL": "0"}),
        rest(1.5),
        info("G", subjects_filter=">"),
        *(get("G", seq=n) for n in range(1, 5)),
        direct("G", {"last_by_subj": "G.1"}),
        info("L"),
        info("M", subjects_filter=">"),
        *(get("M", seq=n) for n in range(1, 7)),
        info("X"),
    )


def republished(**config: object):
    """Stored messages are sent on."""
    return (
        make("A", republish={"src": "A.*", "dest": "copy.{{wildcard(1)}}"}, **config),
        make("B", republish={"src": ">", "dest": "heads.>", "headers_only": True}, **config),
        make(
            "C",
            subject_transform={"src": "C.*.x", "dest": "C.moved.{{wildcard(1)}}"},
            republish={"src": ">", "dest": "after.>"},
            allow_direct=True,
            **config,
        ),
        listen("copy.>"),
        listen("heads.>"),
        listen("after.>"),
        pub("A.1", b"one"),
        pub("A.1", b"two", {"A": "b"}),
        pub("A.2.3", b"not"),
        pub("A.2", b"", {"Nats-Msg-Id": "m"}),
        pub("A.2", b"", {"Nats-Msg-Id": "m"}),
        pub("A.3", b"quiet", reply=False),
        pub("B.1", b"hidden"),
        pub("B.1", b"", {"A": "b"}),
        pub("C.7.x", b"t"),
        pub("C.7.y", b"u"),
        pub("C.8.x", b"v", {"Nats-Expected-Last-Subject-Sequence": "0"}),
        pub("C.8.x", b"v", {"Nats-Expected-Last-Subject-Sequence": "0"}),
        info("C", subjects_filter=">"),
        direct("C", {"last_by_subj": "C.moved.7"}),
        get("C", seq=1),
    )


MEMORY = {"storage": "memory"}
SCRIPTS: list[JetStreamScript] = [
    script(
        "publish",
        make("A"),
        pub("A.1", b"x"),
        pub("A.1"),
        pub("A.2", b"y" * 5000),
        pub("A.3", b"quiet", reply=False),
        pub("none", b"x"),
        pub("A", b"x"),
        info("A", subjects_filter=">"),
        get("A", seq=3),
        get("A", seq=4),
    ),
    script("publish with expectations", *expectations()),
    script("publish with expectations in memory", *expectations(**MEMORY)),
    script("rollup", *rollups()),
    script("rollup in memory", *rollups(**MEMORY)),
    script("limits", *limits()),
    script("limits in memory", *limits(**MEMORY)),
    script("lifetimes", *lifetimes()),
    script("lifetimes in memory", *lifetimes(**MEMORY)),
    script("republish", *republished()),
    script("republish in memory", *republished(**MEMORY)),
    script(
        "no ack",
        make("N", no_ack=True),
        pub("N.1", b"x", silent=True),
        pub("N.1", b"x", {"Nats-Expected-Stream": "other"}, silent=True),
        info("N"),
        change("N"),
        pub("N.1", b"x"),
        info("N"),
    ),
    script(
        "capture of everything",
        make("N", subjects=[">"], no_ack=True),
        pub("some.thing", b"x", silent=True),
        api("STREAM.PURGE.N", {"filter": "some.thing"}),
    ),
    script(
        "first sequence",
        make("F", first_seq=1000),
        info("F"),
        pub("F.1", b"x"),
        info("F"),
        api("STREAM.PURGE.F"),
        info("F"),
        pub("F.1", b"x", {"Nats-Expected-Last-Sequence": "1000"}),
        get("F", seq=1001),
    ),
    script(
        "interest without consumers",
        make("I", retention="interest"),
        pub("I.1", b"x"),
        info("I"),
        pub("I.1", b"x", {"Nats-Msg-Id": "a"}),
        pub("I.1", b"x", {"Nats-Msg-Id": "a"}),
        pub("I.1", b"x", {"Nats-Expected-Last-Sequence": "2"}),
        info("I"),
        get("I", seq=1),
        change("I"),
        pub("I.1", b"kept"),
        info("I"),
    ),
    script(
        "work queue without consumers",
        make("W", retention="workqueue"),
        pub("W.1", b"x"),
        pub("W.1", b"y"),
        info("W"),
        get("W", seq=1),
        change("W", retention="workqueue", max_msgs=1),
        info("W"),
    ),
    script(
        "duplicates",
        make("D", duplicate_window=_SECOND // 5),
        *(pub("D.1", b"x", {"Nats-Msg-Id": text}) for text in ("a", "b", "a", "a b", "a b", "<&>", "<&>")),
        rest(0.7),
        pub("D.1", b"x", {"Nats-Msg-Id": "a"}),
        info("D"),
    ),
    script(
        "ack texts",
        make("Q\u00fc", subjects=["q"]),
        pub("q", b"x"),
        pub("q", b"x", {"Nats-Expected-Stream": "x"}),
        pub("q", b"x", {"Nats-Expected-Last-Msg-Id": '<">&'}),
        pub("q", b"x", {"Nats-Rollup": '<">&'}),
    ),
    script(
        "large",
        make("L", allow_direct=True),
        pub("L.1", b"x" * 900_000),
        get("L", seq=1),
        direct("L", {"seq": 1}),
        pub("L.2", b"x", b"NATS/1.0\r\nH: " + b"y" * 65_400 + b"\r\n\r\n"),
        pub("L.2", b"x", b"NATS/1.0\r\nH: " + b"y" * 65_600 + b"\r\n\r\n"),
        info("L"),
    ),
    script(
        "counters",
        make("K", allow_msg_counter=True, allow_direct=True),
        pub("K.1", b"", {"Nats-Incr": "1"}),
        pub("K.1", b"", {"Nats-Incr": "+5"}),
        pub("K.1", b"", {"Nats-Incr": "-7"}),
        pub("K.1", b"x", {"Nats-Incr": "1"}),
        pub("K.1", b""),
        pub("K.1", b"", {"Nats-Incr": "x"}),
        pub("K.2", b"", {"Nats-Incr": "99999999999999999999999"}),
        direct("K", {"last_by_subj": "K.1"}),
        get("K", last_by_subj="K.2"),
        info("K"),
    ),
    script(
        "batches",
        make("B", allow_atomic=True),
        pub("B.1", b"1", {"Nats-Batch-Id": "u", "Nats-Batch-Sequence": "1"}),
        pub("B.2", b"2", {"Nats-Batch-Id": "u", "Nats-Batch-Sequence": "2"}),
        info("B"),
        pub("B.3", b"3", {"Nats-Batch-Id": "u", "Nats-Batch-Sequence": "3", "Nats-Batch-Commit": "1"}),
        info("B", subjects_filter=">"),
        get("B", seq=3),
    ),
]
