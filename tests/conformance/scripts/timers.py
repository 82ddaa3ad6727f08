"""What happens by itself: the server's pings and stale connections. Slow scripts, so they are few."""

from tests.conformance.script import PLAIN, QUIET, Script, Step, one

FAST_PINGS = {"ping_interval": "1s", "ping_max": 2}

SCRIPTS: list[Script] = [
    one(
        "unanswered pings end in stale connection",
        PLAIN,
        Step(await_close_s=10),
        options=FAST_PINGS,
        whole_only=True,
        keep_pings=True,
    ),
    one(
        "unanswered pings without connect",
        Step(await_close_s=10),
        options=FAST_PINGS,
        whole_only=True,
        keep_pings=True,
    ),
    one(
        "unanswered pings of a modern client",
        QUIET,
        Step(await_close_s=10),
        options=FAST_PINGS,
        whole_only=True,
        keep_pings=True,
    ),
]
