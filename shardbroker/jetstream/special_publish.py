"""What a stream can do with a publish beyond storing it: counters, batches, schedules.

One `SpecialPublish` belongs to each stream, also to those that have none of this switched on, for it is what
refuses such messages. `Stream` calls it from its checks (`check_increment`, `count`, `check_schedule`), after
a message was given a sequence (`counted`, `scheduled`, `end_schedule`), when a schedule is applied
(`stored`), and leaves messages of batches to it altogether (`publish`). The owner calls `tick`.

Nothing here reads a clock or a file: the owner says what time it is and gives, by `attach`, a way to read
stored messages and to send advisories. Errors are values of `api_errors`; None means: all that is owed is
staged.
"""

from collections.abc import Callable

from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.atomic_batches import AtomicBatches, Changes
from shardbroker.jetstream.counter_publish import CounterPublish
from shardbroker.jetstream.fast_batches import FastBatches
from shardbroker.jetstream.schedule_publish import SchedulePublish
from shardbroker.jetstream.scheduled_message import CheckedPublish

# sequence -> (subject, header block, payload, time in ns) of a stored message; None if it is gone.
ReadMessage = Callable[[int], tuple[bytes, bytes, bytes, int] | None]
# Kind of an advisory ("BATCH_ABANDONED") and its fields.
Advise = Callable[[str, dict[str, object]], None]


class OpenBatches:
    """How many batches are open, in all streams that share this object, and what the atomic ones hold."""

    def __init__(self) -> None:
        self.atomic = 0
        self.atomic_size = 0  # bytes
        self.fast = 0


class SpecialPublish:
    """The special ways to publish of one stream. ``domain`` is shown in acks."""

    def __init__(self, config, domain: str = "") -> None:
        shared = OpenBatches()
        self.counters = CounterPublish()
        self.schedules = SchedulePublish()
        self.atomic = AtomicBatches(config.name, domain, shared, self.counters)
        self.fast = FastBatches(config.name, domain, shared)
        self.configure(config)

    def attach(self, read: ReadMessage, advise: Advise, shared: OpenBatches) -> None:
        """What the owner has. Before the first publish."""
        self.counters.read = self.schedules.read = read
        self.atomic.advise = advise
        self.atomic.shared = self.fast.shared = shared

    def configure(self, config) -> None:
        """Take over a configuration. Batches that are no longer allowed are dropped when they go on."""
        self.counters.is_on = config.allow_msg_counter
        self.atomic.is_on = config.allow_atomic
        self.fast.is_on = config.allow_batched
        self.schedules.configure(config)

    # --- called by Stream -------------------------------------------------------------------------------

    def publish(
        self, stream, subject: bytes, reply: bytes, block: bytes, payload: bytes, account: int, now_ns: int
    ) -> ApiError | None:
        """A message of a batch. A reply subject of fast batches counts more than headers."""
        if reply.endswith(b".$FI"):
            return self.fast.publish(stream, subject, reply, block, payload, account, now_ns)
        return self.atomic.publish(stream, subject, reply, block, payload, account, now_ns)

    def check_increment(self, block: bytes, payload_size: int) -> ApiError | int | None:
        """The increment of a message with Nats-Incr."""
        return self.counters.check(block, payload_size)

    def count(
        self, stream, subject: bytes, block: bytes, payload: bytes, increment: int, batch: Changes | None
    ) -> ApiError | tuple[bytes, bytes, bytes]:
        """(header block, payload, value) to store for an increment."""
        last = None if batch is None else batch.counters.get(subject)
        return self.counters.count(stream, subject, block, payload, increment, last)

    def counted(self, subject: bytes, sequence: int, block: bytes, payload: bytes) -> None:
        """A new value was given a sequence."""
        self.counters.note(subject, sequence, block, payload)

    def check_schedule(self, stream, subject: bytes, block: bytes, now_ns: int) -> ApiError | CheckedPublish:
        """A message with headers of schedules."""
        return self.schedules.check(stream, subject, block, now_ns)

    def scheduled(self, subject: bytes, sequence: int) -> None:
        """A schedule was given a sequence."""
        self.schedules.note(subject, sequence)

    def end_schedule(self, stream, block: bytes) -> None:
        """A message with Nats-Schedule-Next was staged: it may purge a schedule."""
        self.schedules.end(stream, block)

    def stored(
        self, stream, subject: bytes, block: bytes, payload: bytes, sequence: int, time_ns: int
    ) -> None:
        """A schedule is applied, or is read back at start."""
        self.schedules.stored(subject, block, sequence, time_ns)

    def forget(self, stream) -> None:
        """What was in flight has failed."""
        self.counters.forget()
        self.schedules.forget(stream)
        self.fast.drop_all()

    # --- called by the owner ----------------------------------------------------------------------------

    def recovering(self, now_ns: int) -> None:
        """Schedules are about to be read back: what they missed before ``now_ns`` is not made up for."""
        self.schedules.now_ns = now_ns

    def tick(self, stream, now_ns: int) -> int:
        """Do what is due; when there is something to do next (ns), 0 for never."""
        dues = (
            self.atomic.expire(now_ns),
            self.fast.expire(now_ns),
            self.schedules.fire(stream, now_ns),
        )
        return min((due for due in dues if due), default=0)

    def close(self) -> None:
        """The stream goes: its batches do not count any more."""
        self.atomic.drop_all()
        self.fast.drop_all()
