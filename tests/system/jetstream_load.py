"""A load of publishes with a journal of what was acknowledged, and two ways to read back what a stream holds.

``Load`` publishes over raw sockets, pipelined: every payload is unique, half of the messages have a Msg-Id.
``Journal`` notes each PubAck as it comes, and fails at once when a sequence is promised to two messages.
``read_by_sequence`` asks the broker for single messages, ``read_store`` reads the files without a broker: a
loss counts only when both say so (RELIABILITY, method rules), and a difference between the two is a fault of
its own. What is checked: I1 durable, I2 no reuse, I4 dedupe, I7 order of each publisher.
"""

import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from shardbroker.storage.collecting_sink import CollectingSink
from shardbroker.storage.disk import Disk
from shardbroker.storage.layout import CONFIG_SLOTS, LOGS, STORE_DIRECTORY, log_id_of, segment_base_of
from shardbroker.storage.log_scan import LogScan
from shardbroker.storage.metadata import Slots
from shardbroker.storage.watermark import read_watermark
from tests.support.broker_process import BrokerProcess
from tests.support.raw_client import ClosedError, RawClient

#: A kill counts only if something was acknowledged in so many seconds before it.
FRESH_ACK_S = 0.05
#: Publishes of one publisher that may be unanswered.
WINDOW = 200
#: After a death a publisher waits so long for an answer before it sends more, as clients do.
GIVEN_UP_S = 0.2
_ACK = re.compile(rb'\{"stream":"([^"]+)", ?"seq":(\d+)(, ?"duplicate": ?true)?')
#: Not acknowledged is only this: a PubAck with an error has a code.
_ERROR_CODE = re.compile(rb'"err_code": ?(\d+)')

_run_numbers = itertools.count(1)


@dataclass(slots=True)
class Sent:
    """One publish. ``sequence`` 0: not acknowledged (so far); ``error`` is the err_code of a refusal."""

    stream: str
    subject: str
    payload: bytes
    message_id: str
    sent_at: float
    sequence: int = 0
    error: int = 0


@dataclass
class Journal:
    """All that was sent, by payload, and who was promised which sequence."""

    by_payload: dict[bytes, Sent] = field(default_factory=dict)
    promised: dict[tuple[str, int], Sent] = field(default_factory=dict)
    last_sequence: Counter = field(default_factory=Counter)  # stream -> the highest that was promised
    last_ack_at: float = 0.0
    slowest_ack_s: float = 0.0
    duplicates: int = 0
    errors: Counter = field(default_factory=Counter)  # err_code, or 503: no responders
    watched_from: float = (
        0.0  # of what was sent later than this, `resumed_at` has the first ack of each stream
    )
    resumed_at: dict[str, float] = field(default_factory=dict)

    @property
    def acked(self) -> int:
        return len(self.promised)

    def answer(self, sent: Sent, payload: bytes, status: bytes) -> None:
        """A message on the reply subject of ``sent``."""
        now = time.monotonic()
        self.slowest_ack_s = max(self.slowest_ack_s, now - sent.sent_at)
        found = _ACK.search(payload)
        if found is None or _ERROR_CODE.search(payload):
            code = _ERROR_CODE.search(payload)
            sent.error = int(code.group(1)) if code else int(status or 1)
            self.errors[sent.error] += 1
            return
        stream, sequence = found.group(1).decode(), int(found.group(2))
        assert stream == sent.stream, f"{sent} was answered by stream {stream}"
        if found.group(3):
            self.duplicates += 1
        other = self.promised.setdefault((stream, sequence), sent)
        assert other is sent, f"I2: sequence {sequence} of {stream} is promised to {other} and to {sent}"
        assert sent.sequence in (0, sequence), f"I4: {sent} is promised {sequence} as well"
        sent.sequence, sent.error = sequence, 0
        if sent.sent_at > self.watched_from > 0.0:
            self.resumed_at.setdefault(stream, now)
        self.last_sequence[stream] = max(self.last_sequence[stream], sequence)
        self.last_ack_at = now

    def watch(self) -> None:
        """From now on note when each stream acknowledges something new for the first time."""
        self.watched_from = time.monotonic()
        self.resumed_at = {}

    def unanswered(self) -> list[Sent]:
        return [sent for sent in self.by_payload.values() if not sent.sequence and not sent.error]


class Publisher:
    """One connection that publishes with at most ``window`` unanswered; its payloads are numbered."""

    def __init__(self, load: "Load", client: RawClient, name: str, streams: list[str]):
        self.client = client
        self.name = name
        self.streams = streams
        self.gone = False
        self.filler = b"." * 64
        self.waiting: dict[bytes, Sent] = {}  # reply token -> what waits for its PubAck
        self._load = load
        self._inbox = f"_INBOX.load{name}"
        self._tokens = itertools.count()
        self._numbers = itertools.count()
        client.subscribe(f"{self._inbox}.*", "acks")

    def publish(self, count: int) -> None:
        """Send up to ``count`` new messages, as the window allows; what died with a process takes no room."""
        since = time.monotonic() - GIVEN_UP_S if self._load.journal.watched_from else 0.0
        room = self._load.window - sum(sent.sent_at >= since for sent in self.waiting.values())
        sends = []
        for number in itertools.islice(self._numbers, max(0, min(count, room))):
            stream = self.streams[number % len(self.streams)]
            payload = b"%s:%d:" % (self.name.encode(), number) + self.filler
            message_id = f"id-{self.name}-{number}" if number // len(self.streams) % 2 else ""
            sends.append(Sent(stream, f"load.{stream}.{self.name}", payload, message_id, 0.0))
        self.send(sends)

    def send(self, sends: Iterable[Sent]) -> None:
        """Send these, new or again."""
        data = []
        now = time.monotonic()
        for sent in sends:
            sent.sent_at = now
            token = b"%d" % next(self._tokens)
            self.waiting[token] = sent
            self._load.journal.by_payload[sent.payload] = sent
            reply = self._inbox.encode() + b"." + token
            subject = sent.subject.encode()
            if sent.message_id:
                block = f"NATS/1.0\r\nNats-Msg-Id: {sent.message_id}\r\n\r\n".encode()
                sizes = b"%d %d" % (len(block), len(block) + len(sent.payload))
                data.append(b"HPUB %s %s %s\r\n%s%s\r\n" % (subject, reply, sizes, block, sent.payload))
            else:
                data.append(b"PUB %s %s %d\r\n%s\r\n" % (subject, reply, len(sent.payload), sent.payload))
        if data:
            try:
                self.client.send(b"".join(data))
            except OSError:
                self.gone = True

    def receive(self, timeout_s: float = 0.0) -> int:
        """Note the answers that are there; how many."""
        try:
            messages = self.client.read_available(timeout_s)
        except (ClosedError, OSError):
            self.gone = True
            return 0
        for message in messages:
            sent = self.waiting.pop(message.subject.rpartition(b".")[2], None)
            if sent is not None:
                self._load.journal.answer(sent, message.payload, message.status)
        return len(messages)


class Load:
    """Publishers on one broker. A new one is made for each start of it; the journal goes on."""

    def __init__(self, broker: BrokerProcess, journal: Journal, window: int = WINDOW):
        self.journal = journal
        self.window = window
        self.broker = broker
        self.publishers: list[Publisher] = []
        self._run = next(_run_numbers)

    def add(self, streams: list[str], client: RawClient | None = None) -> Publisher:
        """One more publisher, to these streams in turn."""
        name = f"{self._run}p{len(self.publishers)}"
        publisher = Publisher(self, client or self.broker.client(), name, streams)
        self.publishers.append(publisher)
        return publisher

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Publish for a while, or until all connections are gone."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until():
            living = [publisher for publisher in self.publishers if not publisher.gone]
            if not living:
                return
            answers = 0
            for publisher in living:
                publisher.publish(50)
                answers += publisher.receive()
            if not answers:
                time.sleep(0.001)

    def settle(self, timeout_s: float = 10.0) -> list[Sent]:
        """Wait for the answers that are owed; gives what got none from connections that live."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            owing = [publisher for publisher in self.publishers if publisher.waiting and not publisher.gone]
            if not owing:
                break
            for publisher in owing:
                publisher.receive(0.01)
        return [s for publisher in self.publishers if not publisher.gone for s in publisher.waiting.values()]

    def drain(self) -> None:
        """The broker is dead: take the acks that it had sent."""
        for publisher in self.publishers:
            while not publisher.gone:
                publisher.receive(0.01)

    def drain_living(self) -> None:
        """All processes stand still: take the acks that they had sent."""
        for publisher in self.publishers:
            while publisher.receive(0.02):
                pass

    def run_and_kill(self, seconds: float, kill: Callable[[], None], *, others_live: bool = False) -> bool:
        """Publish while ``kill`` strikes after ``seconds``, from a thread: at any point of our own work too.

        Then take the acks that were sent before all was dead, unless ``others_live``.

        True when the kill counts: something was acknowledged just before.
        """
        struck: list[bool] = []

        def strike() -> None:
            fresh = time.monotonic() - self.journal.last_ack_at < FRESH_ACK_S
            kill()
            struck.append(fresh)

        timer = threading.Timer(seconds, strike)
        timer.start()
        self.run(seconds + 10.0, until=lambda: bool(struck))
        timer.join()
        if not others_live:
            self.drain()
        return struck[0]


class CoreTalk(threading.Thread):
    """Two clients that talk core NATS, one message at a time, and note how long each took."""

    def __init__(self, speaker: RawClient, hearer: RawClient):
        super().__init__(daemon=True)
        self.trips: list[tuple[float, float]] = []  # when, seconds
        self.failure: BaseException | None = None
        self._speaker, self._hearer = speaker, hearer
        self._ended = threading.Event()
        hearer.subscribe("core.talk", "talk")
        hearer.flush()
        speaker.flush()
        self.start()

    def run(self) -> None:
        """Until end()."""
        try:
            for number in itertools.count():
                if self._ended.is_set():
                    return
                started = time.monotonic()
                self._speaker.publish("core.talk", b"%d" % number)
                message = self._hearer.read_messages(1)[0]
                assert message.payload == b"%d" % number, f"{message.payload!r} came for {number}"
                self.trips.append((started, time.monotonic() - started))
                self._ended.wait(0.002)
        except BaseException as error:
            self.failure = error

    def end(self) -> None:
        """Stop; raises what went wrong: a lost connection, a lost message."""
        self._ended.set()
        self.join()
        if self.failure is not None:
            raise self.failure
        assert self.trips, "nobody talked: nothing was proved"

    def worst_s(self, since: float = 0.0, share: float = 1.0, until: float = float("inf")) -> float:
        """The slowest trip begun between two moments, or the one that ``share`` of them do not exceed."""
        trips = sorted(took for at, took in self.trips if since <= at < until)
        assert trips, "nobody talked in that time"
        return trips[min(len(trips) - 1, int(len(trips) * share))]


# --- the API --------------------------------------------------------------------------------------------


def ask(client: RawClient, subject: str, body: dict | None = None, timeout_s: float = 10.0) -> dict:
    """One request of the JetStream API; its answer, an error as it is."""
    client.subscribe("_INBOX.ask", "ask")
    client.publish(subject, json.dumps(body).encode() if body is not None else b"", "_INBOX.ask")
    deadline = time.monotonic() + timeout_s
    while True:
        message = client.read_messages(1, max(0.01, deadline - time.monotonic()))[0]
        if message.sid == b"ask":
            client.unsubscribe("ask")
            return json.loads(message.payload) if message.payload else {"status": int(message.status)}


def create_stream(client: RawClient, name: str, **more: object) -> dict:
    """A stream of the load; gives the answer. Raises AssertionError for an error."""
    config = {"name": name, "subjects": [f"load.{name}.>"], "storage": "file", "allow_direct": True, **more}
    answer = ask(client, f"$JS.API.STREAM.CREATE.{name}", config)
    assert "error" not in answer, answer
    return answer


def stream_state(client: RawClient, name: str) -> dict:
    """The state in STREAM.INFO."""
    answer = ask(client, f"$JS.API.STREAM.INFO.{name}")
    assert "error" not in answer and "state" in answer, answer
    return answer["state"]


# --- two readers ------------------------------------------------------------------------------------------


def read_by_sequence(client: RawClient, name: str, sequences: Iterable[int]) -> dict[int, bytes]:
    """Sequence -> payload, by direct gets, 500 at a time; what is not found is left out."""
    inbox = f"_INBOX.read{next(_run_numbers)}"
    client.subscribe(f"{inbox}.*", "read")
    found: dict[int, bytes] = {}
    iterator = iter(sequences)
    while batch := list(itertools.islice(iterator, 500)):
        data = []
        for sequence in batch:
            body = b'{"seq":%d}' % sequence
            subject = f"$JS.API.DIRECT.GET.{name} {inbox}.{sequence}"
            data.append(f"PUB {subject} {len(body)}\r\n".encode() + body + b"\r\n")
        client.send(b"".join(data))
        for message in client.read_messages(len(batch)):
            if not message.headers.startswith(b"NATS/1.0 4"):
                found[int(message.subject.rpartition(b".")[2])] = message.payload
    client.unsubscribe("read")
    return found


@dataclass
class StoredLog:
    """What the files of a stream hold: records of all frames, also those that were deleted since."""

    records: dict[int, bytes]  # sequence -> payload
    last_sequence: int
    lost: list[tuple[int, int, str]]


def read_store(store_dir: str | Path) -> dict[str, StoredLog]:
    """Stream name -> what its files hold, without a broker and without changing anything."""
    logs = Path(store_dir) / STORE_DIRECTORY / LOGS
    result = {}
    for directory in sorted(logs.iterdir()):
        log_id = log_id_of(directory.name)
        if log_id is None:
            continue
        slots = Slots([_bytes_of(directory / name) for name in CONFIG_SLOTS])
        if slots.body is None:
            continue  # whoever looks for the stream does not find it
        paths = [(segment_base_of(path.name), str(path)) for path in directory.iterdir()]
        sink = CollectingSink()
        scan = LogScan(
            log_id,
            [(base, path) for base, path in paths if base is not None],
            read_watermark(Disk(), str(directory)),
            use_indexes=False,
            make_durable=False,
        )
        found = scan.run(sink)
        records = {record.sequence: record.payload for _kind, _index, record, _position in sink.records}
        result[json.loads(slots.body)["name"]] = StoredLog(records, found.last_sequence, list(found.lost))
    return result


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


# --- what must hold -----------------------------------------------------------------------------------------


def check_contents(
    journal: Journal, name: str, records: dict[int, bytes], last_sequence: int, since: int = 0
) -> int:
    """I1, I2, I4, I7 of a stream, against what a reader found behind ``since``; gives the promises met."""
    met = 0
    for sequence in range(since + 1, journal.last_sequence[name] + 1):
        sent = journal.promised.get((name, sequence))
        if sent is None:
            continue
        assert sequence in records, f"I1: {name} {sequence} was acknowledged and is not there: {sent}"
        assert records[sequence] == sent.payload, (
            f"I1: {name} {sequence} is {records[sequence]!r}, not {sent}"
        )
        met += 1
    assert last_sequence >= journal.last_sequence[name], (
        f"I2: {name} ends at {last_sequence}, {journal.last_sequence[name]} was acknowledged"
    )
    places: dict[bytes, int] = {}
    newest: dict[bytes, int] = {}
    for sequence in sorted(records):
        payload = records[sequence]
        assert payload in journal.by_payload, f"{name} {sequence} holds what nobody sent: {payload!r}"
        first = places.setdefault(payload, sequence)
        assert first == sequence, f"I4: {payload!r} is stored at {first} and at {sequence}"
        sender, number, _filler = payload.split(b":", 2)
        if not journal.by_payload[payload].message_id:  # those with an id are sent again later
            assert newest.get(sender, -1) < int(number), f"I7: {name} {sequence} overtook {newest[sender]}"
            newest[sender] = int(number)
    return met


def resend(load: Load, sample: list[Sent], places: dict[bytes, int]) -> int:
    """I4: send again what has a Msg-Id; what is stored (``places``: payload -> sequence) is recognised.

    Gives how many were.
    """
    before = load.journal.duplicates
    stored = [sent for sent in sample if sent.payload in places]
    for start in range(0, len(sample), load.window):
        load.publishers[0].send(sample[start : start + load.window])
        missing = load.settle()
        assert not missing, f"I9: {len(missing)} of {len(sample)} sent again got no answer: {missing[:3]}"
    for sent in stored:
        assert sent.sequence == places[sent.payload], f"I4: {sent} was stored at {places[sent.payload]}"
    found = load.journal.duplicates - before
    assert found == len(stored), f"I4: {found} of {len(stored)} that were stored are recognised"
    return found
