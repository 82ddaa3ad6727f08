"""The downstream side of one mirror or source: asks for a feed (stream_feed.py) and stages what comes.

    WAITING ── its time has come, nothing in flight ──► ASKED ── begun ──► RUNNING
       ▲                                                  │ refused, 2 s      │ gone, gap, failure, 10 s
       └──────── 100 ms, or a back-off of 1 s to 30 s ────┴───────────────────┘   of silence

Each ask has a new id and subject, so that nothing of an earlier feed is taken for this one's. Where it goes
on is known exactly: a mirror asks from its stream's last sequence on, a source from the last message that is
stored, which is noted in the log (sourcing.py). It asks only while nothing of its own is on the way to the
disk. So a process may die at any moment, on either side, and nothing is lost or stored twice.

Credit is given for what is stored, not for what has come: a disk that falls behind slows the feed down.
"""

from functools import partial
from typing import TYPE_CHECKING

from shardbroker.jetstream import api_errors, api_types
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.copied_messages import stage_mirrored, stage_sourced
from shardbroker.jetstream.go_time import parse_time
from shardbroker.jetstream.source_config import StreamSource
from shardbroker.jetstream.stream_origin import Origin, name_parts, with_origin, without_expectations
from shardbroker.storage import codec
from shardbroker.subjects.transform import Transform
from shardbroker.workers.hosted import SERVICE_CALL
from shardbroker.workers.random_names import random_name

if TYPE_CHECKING:
    from shardbroker.workers.jetstream import JetStream
    from shardbroker.workers.sourcing import Sourcing
    from shardbroker.workers.stream_opening import StreamEntry

SEARCHING, WAITING, ASKED, RUNNING, STOPPED = range(5)
#: Messages and bytes that may be on their way: some milliseconds of a disk's work.
WINDOW = 500
WINDOW_SIZE = 1 << 20
WINDOW_MIN = 4
#: Of the 10,000 requests that may wait in a worker, messages of feeds take no more.
QUEUE_SHARE = 8000
#: nats-server asks again after ten seconds without a heartbeat.
SILENCE_MAX_NS = 10_000_000_000
ASK_TIMEOUT_NS = 2_000_000_000
PULSE_NS = 1_000_000_000
#: The answer to the request that makes a mirror comes first, as from nats-server.
FIRST_ASK_NS = 10_000_000
BACK_OFF_MIN_NS, BACK_OFF_MAX_NS = 1_000_000_000, 30_000_000_000
#: The owner of a stream has just died, or the feed was lost: soon it is there again.
SOON_NS = 100_000_000


class Follower:
    """One mirror (``is_mirror``) or source of the stream ``entry``, which this worker owns."""

    def __init__(
        self,
        js: "JetStream",
        sourcing: "Sourcing",
        entry: "StreamEntry",
        source: StreamSource,
        is_mirror: bool,
    ):
        self.source = source
        self.is_mirror = is_mirror
        self.state = WAITING if is_mirror else SEARCHING
        self.position = 0  # of a source: the last sequence there that was staged or passed over here
        self.lag = 0
        self.is_current = False  # it has once had everything there was
        self._js, self._desk, self._entry = js, js.desk, entry
        self._sourcing = sourcing
        self._parts = name_parts(source)
        self._transforms = [
            Transform(one.src, one.dest) for one in source.subject_transforms or () if one.dest
        ]
        self._identity = ""
        self._id, self._id_bytes = "", b""
        self._deliver = b""
        self._subscription = 0
        self._target = js.host.new_call_target(entry.hosted.account, self._receive)
        self._confirmed = 0  # of a source: the last sequence there that is stored
        self._in_flight = 0
        self._received = 0  # messages of this feed
        self._settled = self._settled_size = 0  # messages and bytes of this feed that are stored
        self._granted = self._granted_size = 0
        self._error: ApiError | None = None
        self._back_off_ns = BACK_OFF_MIN_NS
        self._due_ns = js.host.wall_ns() + FIRST_ASK_NS
        self._heard_ns = self._pulsed_ns = 0
        self._has_asked = False
        self._contact_ns = 0
        self._warned = ""

    # --- what others ask --------------------------------------------------------------------------------

    def info(self, now_ns: int) -> dict:
        """StreamSourceInfo."""
        source = self.source
        # nats-server shows the filter of a mirror once it has asked for messages.
        shows_filter = self._has_asked or not self.is_mirror
        return api_types.stream_source_info(
            name=source.name,
            lag=self.lag,
            sequence=0 if self.is_mirror else self.position,
            active=max(0, now_ns - self._contact_ns) if self._contact_ns else api_types.NO_CONTACT,
            external=source.external.to_json_dict() if source.external is not None else None,
            error=self._error,
            filter_subject=source.filter_subject if shows_filter else "",
            subject_transforms=[one.to_json_dict() for one in source.subject_transforms or ()],
        )

    @property
    def origin(self) -> Origin:
        """Where a source stands, with everything that is staged."""
        return Origin(b" ".join(self._parts), self.position, self._identity.encode())

    def found(self, origin: Origin | None) -> None:
        """A source's newest message in its stream, None when there is none: it can begin."""
        if origin is not None:
            self.position = self._confirmed = origin.sequence
            self._identity = origin.identity.decode("latin-1")
        if self.state == SEARCHING:
            self.state = WAITING

    def stop(self) -> None:
        """It is no mirror or source any more."""
        self._leave()
        self.state = STOPPED
        self._js.host.end_call_target(self._target)

    # --- asking -----------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Every 50 ms. ``now_ns``: wall clock."""
        if self.state == WAITING:
            if now_ns >= self._due_ns and self._in_flight == 0 and not self._entry.hosted.stream.failed:
                self._ask(now_ns)
        elif self.state == ASKED:
            if now_ns - self._heard_ns > ASK_TIMEOUT_NS:
                self._retry(SOON_NS)  # its owner reads it back, most likely
        elif self.state == RUNNING:
            if now_ns - self._heard_ns > SILENCE_MAX_NS:
                self._retry(SOON_NS)
            elif now_ns - self._pulsed_ns > PULSE_NS:
                self._pulse(now_ns)

    def _ask(self, now_ns: int) -> None:
        js, source = self._js, self.source
        self._has_asked = True
        if not js.ready or self._entry.hosted.stream.closing:
            return
        if source.external is not None:
            self._warn("it is in another account or domain, which cannot be reached")
            self._retry()
            return
        if source.name not in js.account(self._entry.account):
            self._refused(api_errors.STREAM_NOT_FOUND.fresh())
            return
        if source.consumer is not None:
            self._refused(api_errors.CONSUMER_NOT_FOUND.fresh())
            return
        start, time_ns = self._start()
        self._id = random_name(8)
        self._id_bytes = self._id.encode()
        self._deliver = (b"$JS.M." if self.is_mirror else b"$JS.S.") + self._id_bytes
        self._received = self._settled = self._settled_size = 0
        self._granted, self._granted_size = self._window(), WINDOW_SIZE
        self._subscription = js.host.subscribe(
            None, SERVICE_CALL, self._deliver, self._entry.hosted.account, self._target
        )
        self._desk.followers[self._id] = self
        self.state = ASKED
        self._heard_ns = self._pulsed_ns = now_ns
        transforms = source.subject_transforms or ()
        filters = [one.src for one in transforms] or [source.filter_subject]
        wish = {
            "kind": "ask",
            "id": self._id,
            "worker": js.worker_index,
            "account": self._entry.account,
            "stream": source.name,
            "deliver": self._deliver.decode(),
            "from": start,
            "time_ns": time_ns,
            "identity": "" if self.is_mirror else self._identity,
            "filters": [] if any(one in ("", ">") for one in filters) else filters,
            "granted": self._granted,
            "granted_size": self._granted_size,
        }
        if not self._desk.tell(js.owner_of(self._entry.account, source.name), wish):
            self._retry(SOON_NS)

    def _start(self) -> tuple[int, int]:
        """(lowest sequence, earliest time in ns or 0) that is wanted. Nothing of ours is in flight."""
        if self.is_mirror:
            self.position = self._entry.hosted.stream.last_sequence
        else:
            self.position = self._confirmed
        if self.position:
            return self.position + 1, 0
        if self.source.opt_start_time is not None:
            return 1, parse_time(self.source.opt_start_time)
        return max(1, self.source.opt_start_seq), 0

    def told(self, body: dict) -> None:
        """What the owner of the feed says of it."""
        if body["kind"] == "begun":
            self._begun(body)
        elif body["kind"] == "refused":
            self._refused(ApiError(*(body["error"][key] for key in ("code", "err_code", "description"))))
        else:
            self._retry(SOON_NS)

    def _begun(self, body: dict) -> None:
        self.state = RUNNING
        self._error = None
        self._heard_ns = self._contact_ns = self._js.host.wall_ns()
        if not self.is_mirror:
            if self._identity and self._identity != body["identity"]:
                self.position = self._confirmed = 0
            self._identity = body["identity"]
        elif body["next"] - 1 > self._entry.hosted.stream.last_sequence:
            self._skip_to(body["next"] - 1)
        if body["next"] > body["last"]:
            self._now_current()

    def _skip_to(self, last: int) -> None:
        """The mirrored stream has nothing up to here any more: these sequences are given."""
        hosted = self._entry.hosted
        hosted.stream.begin_sequence(last + 1)
        self._in_flight += 1
        call = self._js.host.call_number(partial(self._stored, self._id, 0, 0))
        hosted.stream.stage_frame(codec.CHECKPOINT, checkpoint_body(last), call)
        self._js.host.stage_done(hosted)

    def _refused(self, error: ApiError) -> None:
        self._error = error
        self._warn(error.description)
        self._retry()

    def _retry(self, after_ns: int = 0) -> None:
        """Ask anew, after a while that grows when 0 is given."""
        self._leave()
        self.state = WAITING
        now_ns = self._js.host.wall_ns()
        if after_ns == 0:
            after_ns = self._back_off_ns
            self._back_off_ns = min(self._back_off_ns * 2, BACK_OFF_MAX_NS)
        self._due_ns = now_ns + after_ns

    def _leave(self) -> None:
        """End the feed, on this side at once."""
        if not self._id:
            return
        self._desk.followers.pop(self._id, None)
        self._desk.tell(
            self._js.owner_of(self._entry.account, self.source.name), {"kind": "end", "id": self._id}
        )
        self._id, self._id_bytes = "", b""
        self._deliver = b""
        if self._subscription:
            self._js.host.unsubscribe_number(self._subscription)
            self._subscription = 0

    def _window(self) -> int:
        """Messages that may be on their way: all followers of a worker share its queue of requests."""
        return max(WINDOW_MIN, min(WINDOW, QUEUE_SHARE // max(1, len(self._desk.followers))))

    def _pulse(self, now_ns: int) -> None:
        self._pulsed_ns = now_ns
        self._granted = self._settled + self._window()
        self._granted_size = self._settled_size + WINDOW_SIZE
        body = {
            "kind": "pulse",
            "id": self._id,
            "worker": self._js.worker_index,
            "granted": self._granted,
            "granted_size": self._granted_size,
        }
        self._desk.tell(self._js.owner_of(self._entry.account, self.source.name), body)

    # --- messages ---------------------------------------------------------------------------------------

    def _receive(
        self, _account: int, subject: bytes, reply: bytes, block: bytes, payload: bytes, _cid: int
    ) -> None:
        if self.state != RUNNING:
            return
        words = reply.split(b".")
        if len(words) != 9:
            if subject == self._deliver:
                self._heard_nothing(block)
            return
        if words[3] != self._id_bytes:
            return  # of an earlier feed
        self._heard_ns = self._contact_ns = self._js.host.wall_ns()
        if int(words[6]) != self._received + 1:
            self._retry(SOON_NS)
            return
        self._received += 1
        left = int(words[8])
        self.lag = max(0, left - 1)  # as nats-server counts
        sequence, time_ns = int(words[5]), int(words[7])
        if not self._stage(sequence, time_ns, subject, block, payload):
            return
        if left == 0 and not self.is_current:
            self._now_current()

    def _heard_nothing(self, block: bytes) -> None:
        """A heartbeat: whether all that was sent has come."""
        self._heard_ns = self._contact_ns = self._js.host.wall_ns()
        if b"\r\nNats-Last-Consumer: %d\r\n" % self._received not in block:
            self._retry(SOON_NS)
            return
        self.lag = 0
        if not self.is_current:
            self._now_current()

    def _now_current(self) -> None:
        self.is_current = True
        if self.is_mirror:
            self._js.subscribe(self._entry)

    def _stage(self, sequence: int, time_ns: int, subject: bytes, block: bytes, payload: bytes) -> bool:
        """Put a message into the stream; False when the feed was given up over it."""
        hosted = self._entry.hosted
        size = len(block) + len(payload)
        for transform in self._transforms:
            changed = transform.apply(subject)
            if changed is not None:
                break
        else:
            changed = subject
        if self.is_mirror:
            kept = without_expectations(block) if block else b""
            outcome = stage_mirrored(hosted.stream, sequence, time_ns, changed, kept, payload)
        else:
            kept = with_origin(block, self._parts, sequence, subject, self._identity.encode())
            outcome = stage_sourced(hosted.stream, changed, kept, payload, self._js.host.wall_ns())
        if isinstance(outcome, ApiError):
            # Whatever it is, nothing is left out: when it can be stored, it goes on from here.
            self._warn(f"message {sequence} is not taken: {outcome.description}")
            self._retry()
            return False
        self.position = sequence
        self._in_flight += 1
        hosted.stream.stage_call(self._js.host.call_number(partial(self._stored, self._id, sequence, size)))
        self._js.host.stage_done(hosted)
        if not self.is_mirror:
            self._sourcing.moved()
        return True

    def _stored(self, id_: str, sequence: int, size: int, errno: int) -> None:
        """A message is on disk, or failed with all behind it."""
        self._in_flight -= 1
        if errno:
            if id_ == self._id and id_:
                self._retry()
            return
        self._confirmed = sequence or self._confirmed
        self._back_off_ns = BACK_OFF_MIN_NS
        if id_ != self._id or sequence == 0:
            return
        self._settled += 1
        self._settled_size += size
        if (
            self._granted - self._settled <= self._window() // 2
            or self._granted_size - self._settled_size < WINDOW_SIZE // 2
        ):
            self._pulse(self._js.host.wall_ns())

    def _warn(self, text: str) -> None:
        """One line in the log for each thing that is wrong."""
        if text != self._warned:
            self._warned = text
            kind = "mirror" if self.is_mirror else "source"
            self._js.log.warn(f"JetStream: stream {self._entry.name}: {kind} {self.source.name}: {text}")


def checkpoint_body(last: int) -> bytes:
    """Of a frame that says: sequences up to this one are given."""
    return bytes(8) + last.to_bytes(8, "little") + bytes(8)
