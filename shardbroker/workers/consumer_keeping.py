"""What consumers of a worker need now and then: events told, snapshots, an end for those nobody uses."""

import os
import time
from typing import TYPE_CHECKING

from shardbroker.jetstream import consumer_statuses, consumer_types
from shardbroker.jetstream.consumer import EVENT_GONE, EVENT_LOST, EVENT_MAX_DELIVERIES
from shardbroker.workers.random_names import new_event_id

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.stream_opening import StreamEntry


class ConsumerKeeper:
    """Of all consumers of one worker."""

    def __init__(self, js: "JetStream"):
        self._js = js

    def recover(self, entry: "StreamEntry") -> None:
        """A stream was read back."""
        entry.hosted.details.consumers.recover()

    def keep(self, one) -> None:
        """Write down configuration and state of a consumer."""
        one.hosted.details.consumers.keep(one)

    def died(self, one) -> None:
        """There are dead letters, noted in this turn."""
        self._js.dead_letters.look(one)

    def new_pin(self) -> bytes:
        """The id of a pinned client."""
        return new_event_id().encode()

    def tell(self, events: list[tuple]) -> None:
        """Advisories and metrics: (consumer, what, stream and consumer sequence, deliveries, more)."""
        for one, what, sequence, number, deliveries, more in events:
            event = self._event(one, what, sequence, number, deliveries, more)
            if event is not None:
                self._js.advise(event.subject, event.type, event.fields, one.hosted.account)

    def _event(self, one, what: str, sequence: int, number: int, deliveries: int, more):
        stream = one.hosted.stream.config.name
        if what == EVENT_MAX_DELIVERIES:
            return consumer_types.max_deliveries(stream, one.name, sequence, deliveries)
        if what == "nak":
            return consumer_types.naked(stream, one.name, number, sequence, deliveries)
        if what == "term":
            reason = more.decode("utf-8", "replace")
            return consumer_types.terminated(stream, one.name, number, sequence, deliveries, reason)
        if what == EVENT_LOST:
            self._js.dead_letters.lost(one, sequence)
        if what in (EVENT_GONE, EVENT_LOST):
            one.acked_ns = self._js.host.wall_ns()
            reason = consumer_types.REASON_DELETED_UNACKNOWLEDGED
            return consumer_types.terminated(stream, one.name, number, sequence, deliveries, reason)
        if what == "ack":
            if one.sample_percent < 100 and os.urandom(1)[0] * 100 >= one.sample_percent * 256:
                return None
            return consumer_types.ack_metric(stream, one.name, number, sequence, more, deliveries)
        group = (one.consumer.config.priority_groups or [""])[0]
        if what == "pinned":
            pin = more.decode()
            return consumer_types.pinned(stream, one.name, group, pin, account="$G")
        return consumer_types.unpinned(stream, one.name, group, more, account="$G")

    def look(self, wall_ns: int) -> None:
        """Four times a second: end consumers that nobody uses."""
        for one in self._js.consumers.consumers:
            if one is None:
                continue
            threshold = one.consumer.config.inactive_threshold
            is_used = len(one.pulls) or one.is_bound or one.consumer.num_dead
            if threshold and not is_used and wall_ns - one.active_ns > threshold:
                self.end_unused(one)

    def resume(self, one) -> None:
        """A pause is over."""
        until = one.consumer.paused_until_ns
        one.consumer.pause(0)
        self._js.consumers.wake(one)
        event = consumer_types.paused(one.hosted.stream.config.name, one.name, until, time.time_ns())
        self._js.advise(event.subject, event.type, event.fields, one.hosted.account)

    def stop(self) -> None:
        """The broker stops: pull requests end."""
        for one in self._js.consumers.consumers:
            if one is None:
                continue
            for reply, account, messages, size in one.pulls.end_all():
                block = consumer_statuses.with_rest(consumer_statuses.SERVER_SHUTDOWN, messages, size)
                self._js.host.send(account, reply, b"", block)

    def end_unused(self, one) -> None:
        """An ephemeral consumer, or one with a threshold, that nobody uses any more."""
        stream = one.hosted.stream.config.name

        def ended(_errno: int) -> None:
            event = consumer_types.deleted(stream, one.name)
            self._js.advise(event.subject, event.type, event.fields, one.hosted.account)

        one.hosted.details.consumers.end(one.name, ended)
