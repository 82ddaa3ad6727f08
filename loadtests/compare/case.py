"""What a case is: a function that measures one server once, and the goals for its figures.

A goal is a bound on the median ratio ours / nats-server of one figure: "at least" for rates, "at most" for
what should be small (latency, CPU, memory). Bounds on our own figure alone are `absolute`. A figure without a
goal is shown for information.
"""

from collections.abc import Callable
from dataclasses import dataclass

from loadtests.servers import RunningServer

Figures = dict[str, float]


@dataclass(frozen=True)
class Goal:
    """The bound on one figure: on its ratio, or if `absolute` on our own median. No bound: information."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    absolute: bool = False

    @property
    def has_bound(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    def reached(self, ratio: float | None, ours: float | None) -> bool:
        """What could not be measured is not reached."""
        value = ours if self.absolute else ratio
        if value is None:
            return False
        return value >= self.at_least if self.at_least is not None else value <= self.at_most

    def __str__(self) -> str:
        if not self.has_bound:
            return ""
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{bound} itself" if self.absolute else bound


@dataclass(frozen=True)
class Case:
    """One line of the comparison. `run` measures one server once."""

    name: str
    title: str
    run: Callable[[RunningServer, float], Figures]
    goals: tuple[Goal, ...]
    with_monitor: bool = False
    streams: bool = False  # servers get a store, and JetStream
    peer_syncs: bool = False  # nats-server with `sync_interval: always` instead of its default
    our_flags: tuple[str, ...] = ()  # added to our command line
    pairs_max: int = 0  # fewer pairs than wanted, because a sample takes long; 0: as wanted
    sweep: str = ""  # name of the plot this case is a point of
    x: float = 0.0  # its place there
    prepare: Callable[[RunningServer, float], None] | None = None  # runs once, on the peer, before all pairs


def at_least(ratio: float, figure: str = "deliveries_per_s") -> Goal:
    return Goal(figure, at_least=ratio)


def at_most(ratio: float, figure: str) -> Goal:
    return Goal(figure, at_most=ratio)


cpu_informs = Goal("cpu_ns")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large the large cases are: those whose figure depends on what is stored, not on seconds."""

    streams: int = 1000  # written at once, and in the store of the start-up case
    read_messages: int = 100_000  # each of another subject, to be read one by one
    stored_messages: int = 10_000_000  # in the store of the start-up case, and below filtered consumers
    stored_subjects: int = 1_000_000  # in the one stream of the memory, take-over and filter cases
    empty_streams: int = 10_000
    cold_messages: int = 300_000  # of 1 KiB
    stall_s: float = 5.0
    consumers: int = 1000  # created at once
    consumer_messages: int = 1_000_000  # in the stream on which they are created
    keys: int = 100_000  # of the bucket that is read and watched


full_scale = Scale()
quick_scale = Scale(
    streams=100,
    read_messages=10_000,
    stored_messages=50_000,
    stored_subjects=20_000,
    empty_streams=200,
    cold_messages=10_000,
    stall_s=1.0,
    consumers=100,
    consumer_messages=20_000,
    keys=5000,
)
