"""Push consumers beyond the plain way: who counts as a listener, how fast messages go, what is sampled."""

from tests.conformance.js_script import JetStreamScript, Step, api, listen, make, pub, rest, script
from tests.conformance.scripts.js_consumers import about, ack, consumer, filled, pull

LONG = 60_000_000_000  # ns
#: (name, who listens to which subject, deliver group)
LISTENERS = [
    ("nobody", [], ""),
    ("wildcard", [("to.wildcard.*", "")], ""),
    ("grouped", [("to.grouped.x", "g")], ""),
    ("plain", [("to.plain.x", "")], "g"),
    ("other", [("to.other.x", "h")], "g"),
    ("wide", [("to.wide.*", "g")], "g"),
    ("member", [("to.member.x", "g"), ("to.member.x", "h"), ("to.member.x", ""), ("to.member.*", "")], "g"),
    ("both", [("to.both.x", ""), ("to.both.x", "h"), ("to.both.>", "")], ""),
]


def by_flow_control(name: str, most: int) -> Step:
    """A consumer whose answers to flow control are its acknowledgements."""
    return consumer(
        "S", name, ack_policy="flow_control", deliver_subject=f"to.{name}", flow_control=True,
        idle_heartbeat=1_000_000_000, max_ack_pending=most,
    )  # fmt: skip


SCRIPTS: list[JetStreamScript] = [
    script(
        "only the deliver subject itself in the deliver group is a listener",
        *[Step(listen=subject, group=group) for _, who, _ in LISTENERS for subject, group in who],
        *filled(2),
        *[
            consumer("S", name, deliver_subject=f"to.{name}.x", deliver_group=group)
            for name, _, group in LISTENERS
        ],
        rest(0.1),
        *[about("S", name) for name, _, _ in LISTENERS],
    ),
    script(
        "a listener comes later, and another deliver subject",
        *filled(2),
        consumer("S", "p", deliver_subject="to.me"),
        about("S", "p"),
        listen("to.me"),
        rest(0.2),
        about("S", "p"),
        pub("S.1", b"more"),
        consumer("S", "q", deliver_subject="to.you"),
        consumer("S", "q", deliver_subject="to.us"),
        listen("to.us"),
        rest(0.2),
        about("S", "q"),
        consumer("S", "q", deliver_subject="to.them"),
        consumer("S", "q"),
    ),
    script(
        "rates",
        listen("to.me"),
        listen("to.you"),
        make("S", max_msg_size=400),
        *[pub("S.1", b"x" * 100) for _ in range(6)],
        consumer("S", "pull", rate_limit_bps=8000),
        consumer("S", "below", deliver_subject="to.below", rate_limit_bps=-1),
        consumer("S", "p", deliver_subject="to.me", rate_limit_bps=2400),
        consumer("S", "q", deliver_subject="to.you", rate_limit_bps=80_000_000),
        rest(0.55),
        about("S", "q"),
        consumer("S", "q", deliver_subject="to.you", rate_limit_bps=8000),
    ),
    script(
        "replay as it was",
        listen("A"),
        listen("to.me"),
        make("S"),
        pub("S.1", b"first"),
        rest(0.4),
        pub("S.1", b"second"),
        consumer("S", "push", deliver_subject="to.me", replay_policy="original"),
        consumer("S", "pull", replay_policy="original"),
        pull("S", "pull", {"batch": 2, "expires": LONG}, to="A"),
        rest(0.15),
        Step("A", b"meanwhile", reply=False),
        Step("to.me", b"meanwhile", reply=False),
        rest(0.45),
        pub("S.1", b"live"),
        rest(0.05),
        about("S", "push"),
        about("S", "pull"),
    ),
    script(
        "samples of acknowledgements",
        listen("$JS.EVENT.METRIC.>"),
        *filled(6),
        consumer("S", "p", sample_freq="100"),
        consumer("S", "a", sample_freq="100%", ack_policy="all"),
        consumer("S", "n", sample_freq="0"),
        *[
            pull("S", name, {"batch": 5, "max_bytes": 10_000, "expires": 30_000_000}, many=True)
            for name in ("p", "a", "n")
        ],
        ack("S", "p", 1),
        ack("S", "p", 1),
        ack("S", "p", 2, b"-NAK"),
        ack("S", "p", 3, b"+TERM"),
        ack("S", "p", 4, b"+WPI"),
        ack("S", "a", 3),
        ack("S", "n", 1),
        consumer("S", "p", sample_freq="0%"),
        ack("S", "p", 5),
        consumer("S", "b", sample_freq="many"),
        consumer("S", "b", sample_freq="-1"),
        consumer("S", "b", sample_freq="101"),
        any_order=True,
    ),
    script(
        "flow control as acknowledgement",
        listen("to.p"),
        listen("to.q"),
        *filled(5),
        by_flow_control("p", 3),
        by_flow_control("q", 100),
        rest(1.1),
        about("S", "p"),
        about("S", "q"),
        ack("S", "p", 1, many=True),
        api("CONSUMER.MSG.NEXT.S.p", many=True),
        about("S", "p"),
    ),
]
