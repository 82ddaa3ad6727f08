"""Messages over the API: got, deleted and purged."""

from tests.conformance.js_script import JetStreamScript, Step, api, direct, get, info, make, pub, script

_LATER = "2200-01-01T00:00:00Z"
_EARLIER = "2001-01-01T00:00:00Z"


def filled(name: str, **config: object) -> tuple[Step, ...]:
    """A stream with nine messages on three subjects, some with headers; sequences 2 and 6 are deleted."""
    return (
        make(name, allow_direct=True, **config),
        *(pub(f"{name}.{n % 3}", b"body %d" % n, {"N": str(n)} if n % 2 else None) for n in range(1, 10)),
        pub(f"{name}.deep.er", b""),
        api(f"STREAM.MSG.DELETE.{name}", {"seq": 2}),
        api(f"STREAM.MSG.DELETE.{name}", {"seq": 6, "no_erase": True}),
    )


_GETS: list[dict] = [
    {"seq": 1},
    {"seq": 2},
    {"seq": 6},
    {"seq": 10},
    {"seq": 11},
    {"seq": 0},
    {},
    {"seq": 3, "no_hdr": True},
    {"last_by_subj": "F.1"},
    {"last_by_subj": "F.*"},
    {"last_by_subj": "F.>"},
    {"last_by_subj": ">"},
    {"last_by_subj": "F.9"},
    {"last_by_subj": "F.1", "no_hdr": True},
    {"next_by_subj": "F.1"},
    {"next_by_subj": "F.1", "seq": 2},
    {"next_by_subj": "F.2", "seq": 6},
    {"next_by_subj": "F.*", "seq": 10},
    {"next_by_subj": "F.>", "seq": 10},
    {"next_by_subj": "F.1", "seq": 99},
    {"next_by_subj": "no"},
    {"seq": 1, "last_by_subj": "F.1"},
    {"last_by_subj": "F.1", "next_by_subj": "F.1"},
    {"start_time": _EARLIER},
    {"start_time": _LATER},
    {"start_time": _EARLIER, "next_by_subj": "F.2"},
    {"start_time": _EARLIER, "seq": 3},
    {"start_time": _EARLIER, "last_by_subj": "F.2"},
    {"start_time": "x"},
    {"batch": 2, "seq": 1},
    {"max_bytes": 10, "seq": 1},
    {"multi_last": ["F.1"]},
    {"up_to_seq": 3},
    {"up_to_seq": 3, "seq": 1},
    {"last_by_subj": "bad..x"},
    {"next_by_subj": "bad..x"},
    {"seq": 1, "bogus": 1},
    {"last_by_subj": ""},
    {"start_time": "0001-01-01T00:00:00Z"},
    {"start_time": "0001-01-01T00:00:00Z", "seq": 1},
]
_BATCHES: list[dict] = [
    {"seq": 1, "batch": 3},
    {"seq": 1, "batch": 100},
    {"seq": 8, "batch": 2},
    {"seq": 10, "batch": 1},
    {"seq": 11, "batch": 1},
    {"seq": 99, "batch": 5},
    {"batch": 3},
    {"batch": 3, "next_by_subj": "F.1"},
    {"batch": 2, "next_by_subj": "F.*", "seq": 4},
    {"batch": 3, "next_by_subj": "none"},
    {"batch": 3, "start_time": _EARLIER},
    {"batch": 3, "start_time": _LATER},
    {"batch": 2, "start_time": _EARLIER, "next_by_subj": "F.0"},
    {"batch": 10, "seq": 1, "max_bytes": 1},
    {"batch": 10, "seq": 1, "max_bytes": 60},
    {"batch": 10, "seq": 1, "max_bytes": 200},
    {"batch": 10, "seq": 1, "max_bytes": 53},
    {"batch": 10, "seq": 1, "max_bytes": 54},
    {"batch": 10, "seq": 1, "max_bytes": 55},
    {"multi_last": ["F.*"], "batch": -1},
    {"batch": 3, "seq": 1, "no_hdr": True},
    {"batch": 3, "last_by_subj": "F.1"},
    {"batch": 3, "seq": 1, "start_time": _EARLIER},
    {"multi_last": ["F.1"]},
    {"multi_last": ["F.*"]},
    {"multi_last": [">"]},
    {"multi_last": ["F.0", "F.2", "F.0"]},
    {"multi_last": ["none"]},
    {"multi_last": []},
    {"multi_last": ["F.*"], "batch": 2},
    {"multi_last": ["F.>"], "up_to_seq": 5},
    {"multi_last": ["F.>"], "up_to_seq": 1},
    {"multi_last": ["F.1"], "up_to_seq": 3},
    {"multi_last": ["F.>"], "up_to_seq": 99},
    {"multi_last": ["F.>"], "up_to_time": _LATER},
    {"multi_last": ["F.>"], "up_to_time": _EARLIER},
    {"multi_last": ["F.>"], "up_to_seq": 3, "up_to_time": _LATER},
    {"multi_last": ["F.>"], "seq": 8},
    {"multi_last": ["F.>"], "start_time": _EARLIER},
    {"multi_last": ["F.>"], "last_by_subj": "F.1"},
    {"multi_last": ["F.>"], "next_by_subj": "F.1"},
    {"multi_last": ["F.>"], "max_bytes": 30},
    {"multi_last": ["F.>"], "no_hdr": True},
    {"multi_last": ["F.>", "F.1"], "batch": 1},
    {"up_to_seq": 3, "seq": 1, "batch": 9},
    {"seq": 1, "batch": -1},
    {"seq": 1, "batch": 3, "up_to_time": _LATER},
    {"multi_last": ["bad..x"]},
    {"multi_last": ["F.1"], "batch": 1, "max_bytes": 1, "up_to_seq": 9},
]
#: Those that are answered with messages only, without a status at the end.
_ONE = [{"seq": 1, "batch": -1}]
_SINGLES = [body for body in _GETS if body not in ({"multi_last": ["F.1"]}, {"batch": 2, "seq": 1})]

_PURGES = [
    None,
    {"keep": 2},
    {"seq": 5},
    {"seq": 5, "keep": 2},
    {"filter": "P.1"},
    {"filter": "P.*"},
    {"filter": "none"},
    {"filter": ">"},
    {"filter": "P.1", "keep": 1},
    {"filter": "P.1", "seq": 5},
    {"filter": "P.>", "seq": 5},
    {"seq": 1},
    {"seq": 99},
    {"keep": 99},
    {"keep": 0},
    {"filter": "P.1", "keep": 0},
    {"filter": "P.*", "keep": 2},
    {"filter": "bad..x"},
    {"seq": 0},
    {},
]


def purged(**config: object):
    """Each form of purge on a new stream with nine messages on three subjects."""
    steps = []
    for number, body in enumerate(_PURGES):
        name = f"P{number}"
        steps += [
            make(name, subjects=["P.>"], **config),
            *(pub(f"P.{n % 3}", b"x") for n in range(9)),
            api(f"STREAM.PURGE.{name}", body),
        ]
        steps += [
            info(name, subjects_filter=">", deleted_details=True),
            pub("P.1"),
            info(name),
            api(f"STREAM.DELETE.{name}"),
        ]
    return tuple(steps)


def direct_gets(**config: object):
    """All forms of direct get, on one stream."""
    return (
        filled("F", **config),
        *(direct("F", body) for body in _SINGLES),
        *(direct("F", body, many=body not in _ONE) for body in _BATCHES),
    )


SCRIPTS: list[JetStreamScript] = [
    script(
        "message get",
        filled("F"),
        *(get("F", **body) for body in _GETS),
        get("none", seq=1),
        api("STREAM.MSG.GET.F"),
        api("STREAM.MSG.GET.F", b"x"),
    ),
    script("message get in memory", filled("F", storage="memory"), *(get("F", **body) for body in _GETS)),
    script("direct get", *direct_gets()),
    script("direct get in memory", *direct_gets(storage="memory")),
    script(
        "direct get of a subject",
        filled("F"),
        *(
            api(f"DIRECT.GET.F.{rest}", body)
            for rest in ("F.1", "F.2", "F.9", "F.deep.er", "F.*", "F.>", ">", "x")
            for body in (
                None,
                {"no_hdr": True},
                {"seq": 1},
                b"x",
                b"{}",
                {"batch": 1},
                {"last_by_subj": "F.1"},
            )
        ),
    ),
    script(
        "direct get refused",
        make("N"),
        pub("N.1"),
        direct("N", {"seq": 1}),
        api("DIRECT.GET.N.N.1"),
        direct("none", {"seq": 1}),
        make("D", allow_direct=True),
        direct("D", {"seq": 1}),
        direct("D"),
        direct("D", b"{}"),
        direct("D", b"x"),
        direct("D", b"{"),
        direct("D", {"bogus": 1}),
        direct("D", {"seq": "1"}),
        direct("D", b'{"seq": 1 }'),
        direct("D", b'{"seq":1e0}'),
        *(direct("D", {"seq": 1}, {"Nats-Required-Api-Level": level}) for level in ("1", "99", "x")),
        direct("D", {"seq": 1}, {"Other": "x"}),
        direct("D", {"seq": 1}, reply=False),
    ),
    script(
        "direct get of wide streams",
        make("W", allow_direct=True, storage="memory"),
        *(pub(f"W.{n}", b"%d" % n) for n in range(1030)),
        direct("W", {"multi_last": ["W.>"]}, many=True),
        direct("W", {"multi_last": ["W.1", "W.1029"]}, many=True),
        info("W", subjects_filter="W.1*"),
    ),
    script(
        "direct get switched on and off",
        make("O"),
        pub("O.1", b"x"),
        direct("O", {"seq": 1}),
        api("STREAM.UPDATE.O", {"name": "O", "subjects": ["O.>"], "allow_direct": True}),
        direct("O", {"seq": 1}),
        api("DIRECT.GET.O.O.1"),
        api("STREAM.UPDATE.O", {"name": "O", "subjects": ["O.>"]}),
        direct("O", {"seq": 1}),
        api("STREAM.DELETE.O"),
        direct("O", {"seq": 1}),
    ),
    script(
        "message delete",
        filled("F"),
        *(
            api("STREAM.MSG.DELETE.F", body)
            for body in (
                {"seq": 2},
                {"seq": 3},
                {"seq": 3},
                {"seq": 0},
                {},
                None,
                b"x",
                {"seq": 99},
                {"seq": 1, "no_erase": True},
                {"seq": 10},
                {"seq": 10},
                {"seq": 4, "bogus": 1},
            )
        ),
        api("STREAM.MSG.DELETE.none", {"seq": 1}),
        info("F", deleted_details=True),
        pub("F.1"),
        info("F", deleted_details=True, subjects_filter=">"),
    ),
    script(
        "message delete in memory",
        filled("F", storage="memory"),
        *(api("STREAM.MSG.DELETE.F", {"seq": n}) for n in range(12)),
        info("F", deleted_details=True),
    ),
    script("purge", *purged()),
    script("purge in memory", *purged(storage="memory")),
    script(
        "denied",
        make("N", deny_delete=True, deny_purge=True),
        pub("N.1"),
        api("STREAM.MSG.DELETE.N", {"seq": 1}),
        api("STREAM.PURGE.N"),
        api("STREAM.PURGE.N", {"seq": 1, "keep": 1}),
        api("STREAM.MSG.DELETE.N", {"seq": 9}),
        info("N"),
        api("STREAM.DELETE.N"),
    ),
    script(
        "sealed",
        make("S"),
        pub("S.1", b"x"),
        api("STREAM.UPDATE.S", {"name": "S", "subjects": ["S.>"], "sealed": True}),
        pub("S.1"),
        api("STREAM.MSG.DELETE.S", {"seq": 1}),
        api("STREAM.PURGE.S"),
        get("S", seq=1),
        api("STREAM.UPDATE.S", {"name": "S", "subjects": ["S.>"], "sealed": False}),
        api("STREAM.UPDATE.S", {"name": "S", "subjects": ["S.>"], "sealed": True, "description": "x"}),
        info("S"),
        api("STREAM.DELETE.S"),
    ),
]
