"""What is known of a consumer when one asks why it does not deliver, and what is said about it.

`ConsumerFacts` is filled in by consumer_facts.pyx and by the owner of the stream; `Reason` is one finding.
The functions that find reasons are in explain_state.py and explain_clients.py, one for each possible reason.
They are pure: no clock, no I/O, no consumer. So each is tested with a real consumer whose state was brought
there, and with no broker around it. consumer_explain.py puts them together.

Severities: *blocks* keeps the next message from being delivered, *limits* slows delivery down, *note* is what
one should know. Where nothing is left to be delivered, what would hold it back is a note, unless it must be
repaired anyway. Times are wall clock nanoseconds, 0 for never.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.go_time import format_time

BLOCKS, LIMITS, NOTE = "blocks", "limits", "note"
SECOND = 1_000_000_000  # nanoseconds
#: A client that has asked, or was served, so short a time ago is taken to be at work between two requests.
RECENT_NS = 5 * SECOND
_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1))


@dataclass(slots=True)
class Reason:
    """One finding. ``facts`` are the figures behind ``text``; times in there are RFC 3339."""

    code: str
    severity: str
    text: str
    what_to_do: str = ""
    facts: dict[str, object] = field(default_factory=dict)

    def to_json_dict(self) -> dict[str, object]:
        """As it stands in the answer."""
        return {
            "code": self.code,
            "severity": self.severity,
            "text": self.text,
            "what_to_do": self.what_to_do,
            "facts": self.facts,
        }


@dataclass(slots=True)
class ConsumerFacts:
    """What the owner of a stream knows of one consumer. consumer_facts.pyx fills in most of it."""

    stream: str = ""
    consumer: str = ""
    # the stream
    stream_subjects: list[str] = field(default_factory=list)  # as configured; [] for a mirror or a copy
    stream_messages: int = 0
    stream_first: int = 0
    stream_last: int = 0
    stream_subjects_count: int = 0
    subjects: list[str] = field(default_factory=list)  # some that have messages
    has_matching: bool | None = None  # whether the filters match any message; None: not known
    # where it stands
    is_held: bool = False  # its creation is not stored yet
    is_counted: bool = True
    paused_until: int = 0
    position: int = 1  # the sequence that delivery goes on with
    num_pending: int = 0
    next_sequence: int = 0  # of the next message; 0: none, or not known
    next_size: int = 0  # its subject, headers and payload, perhaps 4 bytes less; 0: not known
    next_stored: int = 0
    delivered_consumer: int = 0
    delivered_stream: int = 0
    floor_consumer: int = 0
    floor_stream: int = 0
    last_delivery: int = 0
    last_ack: int = 0
    active: int = 0  # the last request, delivery or acknowledgement
    not_before: int = 0  # rate limit or original replay: nothing is sent until then
    # what is not acknowledged
    ack_pending: int = 0
    redelivery_due: int = 0
    redelivered: int = 0
    exhausted: int = 0  # reached max_deliver
    exhausted_first: int = 0
    dead: int = 0  # dead letters that no stream has taken yet
    oldest_sequence: int = 0
    oldest_delivered: int = 0
    oldest_deliveries: int = 0
    due_sequence: int = 0  # the one that is due again first
    due_deliveries: int = 0
    due_at: int = 0
    # pull requests
    charged_size: int = 0  # next_size and its reply subject: what max_bytes is compared with
    waiting: int = 0
    waiting_able: int = 0  # of them, those that may get the next message
    waiting_of_pinned: int = 0
    waiting_too_small: int = 0
    waiting_held: int = 0  # by the thresholds of overflow
    waiting_min_pending: int = 0  # the lowest one asked; 0: none
    waiting_min_ack_pending: int = 0
    requests: int = 0
    last_request: int = 0
    last_refusal: str = ""  # the status with which the last request was refused: ``409 ...``
    was_too_large: bool = False  # the last request that ended did so for the size of a message
    pinned_id: str = ""
    pinned_since: int = 0
    pin_expires: int = 0
    # push
    is_bound: bool = False  # somebody listens to the deliver subject, in the deliver group if there is one
    is_new_listener: bool = False  # it began to listen so short ago that this consumer has not noticed yet
    others_listen: bool = False  # somebody listens, in that group or not
    flow_window: int = 0
    flow_outstanding: int = 0
    flow_request: str = ""
    is_stalled: bool = False
    is_pressed: bool = False  # receivers of this worker's consumers read slower than messages come

    @property
    def has_next(self) -> bool:
        """Whether anything is there that should be delivered now."""
        return self.num_pending > 0 or self.redelivery_due > 0


Finding = Callable[[ConsumerConfig, ConsumerFacts, int], Reason | None]


# --- words ----------------------------------------------------------------------------------------------


def span(ns: int) -> str:
    """A duration in two units at most: ``0.3s``, ``12s``, ``3m5s``, ``2h3m``, ``5d2h``."""
    seconds = max(ns, 0) / SECOND
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for name, size, small_name, small_size in _UNITS:
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size}{name}{rest}{small_name}" if rest else f"{whole // size}{name}"
    return f"{whole}s"


def ago(ns: int, now_ns: int) -> str:
    """``3.2s ago``, or ``never``."""
    return f"{span(now_ns - ns)} ago" if ns else "never"


def at(ns: int, now_ns: int) -> str:
    """A moment, and how far it is: ``at 2026-11-26T10:00:00Z (in 30s)``."""
    distance = f"in {span(ns - now_ns)}" if ns > now_ns else f"{span(now_ns - ns)} ago"
    return f"at {format_time(ns // 1_000_000 * 1_000_000)} ({distance})"


def messages(count: int, one: str = "", many: str = "") -> str:
    """``1 message``, ``7 messages``; with the verbs "is" and "are": ``1 message is``."""
    text = f"1 message {one}" if count == 1 else f"{count} messages {many}"
    return text.rstrip()


def times(count: int) -> str:
    """``once``, ``7 times``."""
    return "once" if count == 1 else f"{count} times"


def if_next(severity: str, facts: ConsumerFacts) -> str:
    """This severity if something waits to be delivered; else what is found holds nothing back."""
    return severity if facts.has_next else NOTE


def listed(texts: list[str], most: int = 5) -> str:
    """The first of them, and how many more there are."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")
