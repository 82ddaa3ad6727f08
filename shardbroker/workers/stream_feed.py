"""The upstream side of mirrors and sources: hands a stream's messages on, in order, as they are applied.

    follower (sourcing.py)                      feeds of the stream's owner (here)
       ask ─────────────── control ──────────────► begins at a sequence or time, with filters
       ◄───────────────── control: begun ────────   where it begins, who the stream is
       ◄══ $JS.M.<id> / $JS.S.<id> ═════════════   one message each, within the credit
       pulse, every second ─ control ────────────► more credit; "gone" if nobody knows the feed
       ◄══ status 100, every second of silence ═

*Control* is spoken in an account of its own, in which no client can be, on one subject for each worker.
*Data* goes through the follower's account as nats-server sends it, also visible for subscribers of ``>``: it
is routed by the feed's subject and shows the one under which the message is stored. The reply subject is that
of a consumer's delivery, ``$JS.ACK.<stream>.<feed>.1.<sequence>.<number>.<time>.<pending>``. A consumer can
take the place of a feed.

A feed never waits: without credit it sends nothing, and it is forgotten when its follower is silent. What was
sent and not stored is no business of this side: the follower asks again from where it stands.
"""

import time
from typing import TYPE_CHECKING

import orjson

from shardbroker.errors import ColdRead, StorageError
from shardbroker.jetstream import api_errors
from shardbroker.jetstream.stream_origin import short_hash
from shardbroker.workers.hosted import JOB_DONE, JOB_PRESSES, JOB_SOON, SERVICE_CALL

if TYPE_CHECKING:
    from shardbroker.workers.follower import Follower
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.sourcing import Sourcing
    from shardbroker.workers.stream_opening import StreamEntry

#: No client is ever in it: accounts are numbered from 0 on.
CONTROL_ACCOUNT = 0xFFFFFFFF
#: Of one job in one turn: other work of the worker waits meanwhile.
SLICE_NS = 1_000_000
HEARTBEAT_NS = 1_000_000_000
#: A follower says something every second.
SILENCE_MAX_NS = 30_000_000_000
#: Messages between two looks at the clock.
_MESSAGES_PER_LOOK = 16
#: Messages that are compared with a wildcard in one go: half a millisecond.
_MESSAGES_PER_SEARCH = 10_000


def control_subject(worker: int) -> bytes:
    return b"feed.%d" % worker


def identity_of(entry: "StreamEntry") -> str:
    """Eight characters that a stream keeps for life, and that no other of its name has."""
    return short_hash(f"{entry.name} {entry.created} {entry.seed}")


class Feed:
    """One follower of one stream. ``wish`` is what it has asked for."""

    def __init__(self, entry: "StreamEntry", wish: dict, now_ns: int):
        self.id: str = wish["id"]
        self.worker: int = wish["worker"]
        self.heard_ns = now_ns
        self.sent_ns = now_ns
        self.sent = self.sent_size = 0  # messages and bytes, since it began
        self.granted, self.granted_size = wish["granted"], wish["granted_size"]
        self.next = wish["from"]  # lowest sequence that was not looked at
        self.last = 0  # last sequence sent
        self.entry = entry
        self._deliver = wish["deliver"].encode()
        self._filters = [one.encode() for one in wish["filters"]]
        self._heads: dict[bytes, int] = {}  # filter -> its first message that was not sent; 0: none so far
        self._searched: dict[bytes, int] = {}  # filter -> up to here there is none
        self._reply_head = f"$JS.ACK.{entry.name}.{self.id}.1.".encode()

    def run(self, js: "JetStream", deadline_ns: int) -> int:
        """Send what there is; when there is more to be sent (``JOB_...``)."""
        host, hosted = js.host, self.entry.hosted
        while self.sent < self.granted and self.sent_size < self.granted_size:
            sequence = self._following()
            if sequence == 0:
                return JOB_DONE
            if sequence > 0:
                try:
                    message = host.message(hosted, sequence)
                except ColdRead:
                    return JOB_SOON
                except StorageError as error:
                    js.log.error(f"JetStream: stream {self.entry.name}: {error}")
                    message = None
                self.next = sequence + 1
                if message is not None:
                    self._send(js, sequence, message)
            if (sequence < 0 or self.sent % _MESSAGES_PER_LOOK == 0) and time.monotonic_ns() > deadline_ns:
                return JOB_PRESSES
        return JOB_DONE

    def _following(self) -> int:
        """The next message for this follower; 0 when there is none, -1 when the search is not at its end."""
        state = self.entry.hosted.stream.state
        last = state.messages.last
        if self.next > last:
            return 0
        found, is_complete = 0 if self._filters else state.next_matching(self.next, b""), True
        for one in self._filters:
            head = self._heads.get(one, 0)
            if head < self.next:
                start = max(self.next, self._searched.get(one, 0) + 1)
                head, goes_on = state.next_matching_within(start, one, _MESSAGES_PER_SEARCH)
                self._heads[one] = head
                if head == 0:
                    self._searched[one] = goes_on - 1
                    is_complete = is_complete and goes_on > last
            if head and (found == 0 or head < found):
                found = head
        if not is_complete:
            return -1
        if found == 0:
            self.next = last + 1
        return found

    def _send(self, js: "JetStream", sequence: int, message: tuple[bytes, bytes, bytes, int]) -> None:
        subject, block, payload, time_ns = message
        self.sent += 1
        self.sent_size += len(block) + len(payload)
        self.sent_ns = js.host.wall_ns()
        self.last = sequence
        pending = self.entry.hosted.stream.state.messages.last - sequence
        if pending and self._filters and self._following() == 0:
            pending = 0
        reply = self._reply_head + b"%d.%d.%d.%d" % (sequence, self.sent, time_ns, pending)
        js.host.send(self.entry.hosted.account, self._deliver, payload, block, reply, subject)

    def beat(self, js: "JetStream", now_ns: int) -> None:
        """Once a second without messages: how far the stream and this feed are."""
        self.sent_ns = now_ns
        last = self.entry.hosted.stream.state.messages.last
        block = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %d\r\nNats-Last-Stream: %d\r\n\r\n" % (
            self.sent,
            last,
        )
        js.host.send(self.entry.hosted.account, self._deliver, b"", block)


class StreamFeeds:
    """All feeds of one stream of this worker."""

    def __init__(self, js: "JetStream", entry: "StreamEntry"):
        self.feeds: list[Feed] = []
        self._js = js
        self._entry = entry
        self._is_waiting = False  # for its turn

    def call(self) -> None:
        """There may be something to send."""
        if not self._is_waiting and self.feeds:
            self._is_waiting = True
            self._js.host.run_later(self.run)

    def run(self) -> int:
        """A job of the host: one slice for all feeds."""
        hosted = self._entry.hosted
        if hosted is None:
            self.feeds.clear()
            self._is_waiting = False
            return JOB_DONE
        deadline_ns = time.monotonic_ns() + SLICE_NS
        wishes = set()
        # No other stream waits for the disk because of a follower.
        hosted.reader.patient = False
        try:
            for feed in self.feeds:
                wishes.add(feed.run(self._js, deadline_ns))
        finally:
            hosted.reader.patient = True
        for wish in (JOB_PRESSES, JOB_SOON):
            if wish in wishes:
                self.feeds.append(self.feeds.pop(0))  # another one is first in the next turn
                return wish
        self._is_waiting = False
        return JOB_DONE


class FeedDesk:
    """Where this worker hears what followers ask for, and its own followers what they are told."""

    def __init__(self, js: "JetStream"):
        self.followers: dict[str, Follower] = {}  # id of a feed -> who gets it, of this worker
        self.live: list[Sourcing] = []  # of this worker's streams
        self._js = js
        self._feeds: dict[str, Feed] = {}
        self._streams: dict[str, StreamFeeds] = {}  # id of a feed -> the feeds of its stream
        self._of_stream: dict[object, StreamFeeds] = {}  # by Hosted
        index = js.host.new_call_target(CONTROL_ACCOUNT, self._control)
        js.host.subscribe(None, SERVICE_CALL, control_subject(js.worker_index), CONTROL_ACCOUNT, index)
        js.host.ticking.append(self._tick)

    def tell(self, worker: int, body: dict) -> bool:
        """Send a control message; False when that worker is not there."""
        return self._js.host.send(CONTROL_ACCOUNT, control_subject(worker), orjson.dumps(body))

    def _control(
        self, _account: int, _subject: bytes, _reply: bytes, _block: bytes, payload: bytes, _cid: int
    ) -> None:
        body = orjson.loads(payload)
        kind = body["kind"]
        if kind == "ask":
            self._begin(body)
        elif kind == "pulse":
            self._pulse(body)
        elif kind == "end":
            self._end(body["id"])
        else:
            follower = self.followers.get(body["id"])
            if follower is not None:
                follower.told(body)

    # --- feeds ------------------------------------------------------------------------------------------

    def _begin(self, wish: dict) -> None:
        js = self._js
        entry = js.account(wish["account"]).get(wish["stream"])
        if not js.ready:
            return  # it asks again
        if entry is None or entry.hosted is None or entry.hosted.stream.closing:
            error = api_errors.STREAM_NOT_FOUND.fresh().as_dict()
            self.tell(wish["worker"], {"kind": "refused", "id": wish["id"], "error": error})
            return
        hosted = entry.hosted
        messages = hosted.stream.state.messages
        identity = identity_of(entry)
        if wish["identity"] and wish["identity"] != identity:
            wish["from"] = 1  # its sequences were those of another stream
        if wish["time_ns"]:
            found = js.host.find(hosted, 0, b"", b"", wish["time_ns"])
            wish["from"] = found or messages.last + 1
        first = messages.first if messages.count else messages.last + 1
        wish["from"] = max(wish["from"], first, 1)
        feed = Feed(entry, wish, js.host.wall_ns())
        self._feeds[feed.id] = feed
        feeds = self._of_stream.get(hosted)
        if feeds is None:
            feeds = self._of_stream[hosted] = StreamFeeds(js, entry)
            hosted.followers = feeds.call
        feeds.feeds.append(feed)
        self._streams[feed.id] = feeds
        self.tell(
            feed.worker,
            {"kind": "begun", "id": feed.id, "next": feed.next, "last": messages.last, "identity": identity},
        )
        feeds.call()

    def _pulse(self, body: dict) -> None:
        feed = self._feeds.get(body["id"])
        if feed is None:
            if self._js.ready:
                self.tell(body["worker"], {"kind": "gone", "id": body["id"]})
            return
        feed.heard_ns = self._js.host.wall_ns()
        feed.granted, feed.granted_size = body["granted"], body["granted_size"]
        self._streams[feed.id].call()

    def _end(self, id_: str) -> None:
        feed = self._feeds.pop(id_, None)
        feeds = self._streams.pop(id_, None)
        if feed is not None and feed in feeds.feeds:
            feeds.feeds.remove(feed)

    def end_stream(self, hosted) -> None:
        """The stream goes: its followers are told."""
        feeds = self._of_stream.pop(hosted, None)
        hosted.followers = None
        for feed in list(feeds.feeds) if feeds is not None else ():
            self._end(feed.id)
            self.tell(feed.worker, {"kind": "gone", "id": feed.id})

    def _tick(self, now_ns: int) -> None:
        for feed in list(self._feeds.values()):
            if now_ns - feed.heard_ns > SILENCE_MAX_NS or feed.entry.hosted is None:
                self._end(feed.id)
            elif now_ns - feed.sent_ns > HEARTBEAT_NS:
                feed.beat(self._js, now_ns)
        for sourcing in list(self.live):
            sourcing.tick(now_ns)
