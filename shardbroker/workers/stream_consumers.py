"""The consumers of one stream of this worker: how they begin, change, are written down, and end.

What a consumer is to do is decided in jetstream/consumer.pyx, and ConsumerHost drives it. Here are names and
configurations, subscriptions, and the notes that only few events need: configuration and snapshot of a
consumer are staged together, and count when both are stored. Until then nobody was told of it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from shardbroker.errors import StorageError
from shardbroker.jetstream import consumer_notes, consumer_statuses
from shardbroker.jetstream.consumer import Consumer
from shardbroker.jetstream.consumer_config import ConsumerConfig
from shardbroker.jetstream.consumer_index import ConsumerIndex
from shardbroker.jetstream.consumer_recovery import NOTE_CONFIG, NOTE_GONE, NOTE_SNAPSHOT, note, part
from shardbroker.jetstream.go_time import parse_time
from shardbroker.storage import codec
from shardbroker.workers.hosted import JOB_PRESSES

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry

#: Messages of an interest or workqueue stream that are looked at in one go, after a consumer has gone.
_SWEEP_SLICE = 20_000


class StreamConsumers:
    """By name; the stream's owner alone has them."""

    def __init__(self, js: "JetStream", entry: "StreamEntry"):
        self._js = js
        self._entry = entry
        self.index = ConsumerIndex()
        self._retention = entry.config.retention
        self.by_name: dict = {}  # HostedConsumer
        self.has_failed = False  # removals that were staged may be lost

    def __len__(self) -> int:
        return len(self.by_name)

    # --- beginning --------------------------------------------------------------------------------------

    def make(self, name: str, config: ConsumerConfig, done: Callable[[int], None]):
        """A new consumer; ``done(errno)`` once it is counted and stored. Its HostedConsumer."""
        hosted = self._entry.hosted
        host = self._js.host
        start = 0
        if config.opt_start_time is not None:
            start = self._first_since(parse_time(config.opt_start_time))
        consumer = Consumer(
            name, config, hosted.stream.state, host.wall_ns(), start_sequence=start,
            keeps_finished=self._entry.config.retention != "limits",
        )  # fmt: skip
        if config.pause_until is not None:
            consumer.pause(max(parse_time(config.pause_until), 0))
        one = self._serve(consumer)
        one.is_held = True

        def stored(errno: int) -> None:
            one.is_held = False
            self._js.consumers.wake(one)
            done(errno)

        def count() -> int:
            if one.is_gone:
                done(1)
            elif not consumer.count_on():
                return JOB_PRESSES
            elif one.is_lazy:
                one.wants_snapshot = True
                stored(0)
            else:
                self.keep(one, stored)
            return 0

        if count() == JOB_PRESSES:
            host.run_later(count)
        return one

    def _first_since(self, time_ns: int) -> int:
        """The first message that is as late; behind the last one if there is none."""
        hosted = self._entry.hosted
        found = self._js.host.find(hosted, 0, b"", b">", max(time_ns, 1))
        return found or hosted.stream.state.messages.last + 1

    def _serve(self, consumer: Consumer):
        """Take requests and acknowledgements of a consumer."""
        hosted = self._entry.hosted
        burst = self._entry.config.max_msg_size
        burst = burst if burst > 0 else self._js.options.max_payload
        one = self._js.consumers.attach(consumer, hosted, self._js.keeper.new_pin, burst)
        self.by_name[consumer.name] = one
        self.index.put(consumer.name, consumer.config)
        names = f"{self._entry.name}.{consumer.name}".encode()
        next_target, ack_target, flow_target = one.targets()
        wanted = [(next_target, b"$JS.API.CONSUMER.MSG.NEXT." + names)]
        if consumer.config.ack_policy != "flow_control":
            wanted.append((ack_target, b"$JS.ACK." + names + b".>"))
        if consumer.config.flow_control:
            wanted.append((flow_target, b"$JS.FC." + names + b".>"))
        for target, subject in wanted:
            one.numbers.append(self._js.host.subscribe_target(target, subject, hosted.account))
        one.is_bound = not one.is_pull and self._js.consumers.is_listened(one)
        self._js.consumers.wake(one)
        self._js.host.write_figures(hosted)
        return one

    def recover(self) -> None:
        """After the log was read back."""
        hosted = self._entry.hosted
        notes, hosted.consumer_notes = hosted.consumer_notes, None
        if notes is None:
            return
        for found in notes.consumers():
            if found.boot not in ("", self._js.server_id):
                continue  # it was in memory only, of a broker that has ended
            try:
                config = ConsumerConfig.from_stored(orjson.dumps(found.config))
                consumer = consumer_notes.restore(
                    found.name, config, hosted.stream.state, found.created, found.notes,
                    keeps_finished=self._entry.config.retention != "limits",
                )  # fmt: skip
            except StorageError as error:
                self._js.log.error(f"JetStream: stream {self._entry.name}: {error}")
                continue
            if config.pause_until is not None:
                consumer.pause(max(parse_time(config.pause_until), 0))
            one = self._serve(consumer)
            one.is_noted = one.wants_snapshot = True
        self.sweep(None)

    def configure(self, retention: str) -> None:
        """The stream has this retention from now on: what nobody needs any more goes."""
        if retention != self._retention:
            self._retention = retention
            self._js.consumers.retain(self._entry.hosted, retention)
            self.sweep(None, taken=True)

    # --- changing ---------------------------------------------------------------------------------------

    def change(self, name: str, config: ConsumerConfig, done: Callable[[int], None]) -> None:
        """Another configuration; ``done(errno)`` once it is stored."""
        one = self.by_name[name]
        one.consumer.take_config(config)
        one.configure(config)
        self.index.put(name, config)
        one.is_held = True  # what is delivered by it comes behind the answer

        def stored(errno: int) -> None:
            one.is_held = False
            done(errno)
            self._js.consumers.wake(one)

        self.keep(one, stored)

    def keep(self, one, done: Callable[[int], None] | None = None) -> None:
        """Write configuration and state of a consumer down; ``done(errno)`` once both are stored.

        One with memory storage is written down for the successor of this worker alone: nobody waits for that.
        """
        hosted = self._entry.hosted
        stream = hosted.stream
        position = stream.log.position
        body = {
            "name": one.name,
            "config": one.consumer.config.to_json_dict(),
            "created": one.consumer.created_ns,
        }
        if one.is_memory:
            body["boot"] = self._js.server_id
        one.is_noting = one.is_noted = True

        def stored(errno: int) -> None:
            one.is_noting = False
            if errno:
                one.wants_snapshot = True
            else:
                one.noted_at = max(one.noted_at, position)
                if self.has_failed:
                    self.has_failed = False
                    self.sweep(None)
            if done is not None and not one.is_memory:
                done(errno)

        stream.stage_frame(codec.NOTE, note(NOTE_CONFIG, orjson.dumps(body)))
        snapshot = part(one.name.encode(), consumer_notes.snapshot(one.consumer))
        stream.stage_frame(codec.NOTE, note(NOTE_SNAPSHOT, snapshot), self._js.host.call_number(stored))
        one.wants_snapshot = False
        one.delta_size = 0
        self._js.host.stage_done(hosted)
        if done is not None and one.is_memory:
            done(0)

    # --- ending -----------------------------------------------------------------------------------------

    def end(self, name: str, done: Callable[[int], None]) -> None:
        """Delete a consumer; ``done(errno)`` once that is stored."""
        one = self.by_name[name]
        hosted = self._entry.hosted
        self._stop(one)
        self.sweep(one.consumer)
        if not one.is_noted:
            done(0)
            return
        call = self._js.host.call_number(done)
        hosted.stream.stage_frame(codec.NOTE, note(NOTE_GONE, name.encode()), call)
        self._js.host.stage_done(hosted)

    def end_all(self) -> None:
        """The stream is being removed."""
        for one in list(self.by_name.values()):
            self._stop(one)

    def _stop(self, one) -> None:
        """No more messages, requests and acknowledgements; who waits is told."""
        host = self._js.host
        for number in one.numbers:
            host.unsubscribe_number(number)
        one.numbers = []
        for reply, account, _messages, _size in one.pulls.end_all():
            host.send(account, reply, b"", consumer_statuses.CONSUMER_DELETED)
        self._js.consumers.detach(one)
        self.by_name.pop(one.name, None)
        self.index.drop(one.name)
        host.write_figures(self._entry.hosted)

    def sweep(self, gone: Consumer | None, *, taken: bool = False) -> None:
        """Remove what nobody needs any more, a little each turn."""
        consumers = self._entry.hosted.consumers
        if self._entry.config.retention == "limits":
            return
        place = 1

        def step() -> int:
            nonlocal place
            hosted = self._entry.hosted
            if hosted is None or hosted.stream.closing:
                return 0
            found, place = consumers.sweep(place, _SWEEP_SLICE, gone, taken)
            self._js.consumers.remove(hosted, found)
            return JOB_PRESSES if place else 0

        self._js.host.run_later(step)
