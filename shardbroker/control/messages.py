"""What the acceptor and a worker say to each other, one message a datagram.

Control only: slow and talkative is fine here, messages of clients never pass this way. Each message is a
frozen dataclass; ``encode`` gives one kind byte and the body, ``decode`` the dataclass again. TakeSocket
and MoveSocket are packed by hand because a storm of connections is a storm of these; all others are the
fields in order as a JSON list.

    acceptor -> worker   Attach, TakeSocket, PeerDown, PeerUp, LameDuck, Stop, Query, ReopenLog,
                         StreamAttach, StreamNews, StreamReply
    worker -> acceptor   Ready, PeerDownDone, MoveSocket, Answer, StreamAsk, Progress
    acceptor -> writer   WriterAttach, WriterPeer, Fence, Stop
    writer -> acceptor   WriterReady, WriterFailed, WriterReport, WriterHealth, LaneBroken, Fenced

How a worker lives (the acceptor's side is acceptor/supervisor.py):

1. It gets Attach, maps everything, attaches its ring's consumers and answers Ready. A peer whose number in
   ``generations`` is 0 is down just now: ignore its descriptors, its PeerUp will come.
2. TakeSocket brings connections. Each one without REJECT must raise the worker's ``connections_total``
   figure by one: that is how the acceptor knows how many are still under way.
3. PeerDown: detach the peer's cursor, drain its ring to the published end, forget its interest, drop
   half-received large messages, then answer PeerDownDone with the same two numbers. The same PeerDown may
   come for a peer that the worker already believes to be down: answer all the same.
4. PeerUp: map the fresh regions, attach the cursor. It always comes after PeerDownDone of that slot.
5. Stop: flush, close the clients ("Server Shutdown"), exit 0. End of file on the channel: exit at once.

Checklist: a new message needs a kind here, a row in ``_CLASSES`` and a line in the list above.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

import orjson

from shardbroker.errors import ProtocolError

#: TakeSocket.flags: greet, answer "maximum connections exceeded" and close.
REJECT = 1

#: LameDuck.phase
LAME_DUCK_ANNOUNCE = 1
LAME_DUCK_CLOSE = 2

#: Query.kind: the worker's client subscriptions. Arguments, all optional: ``cids`` (list: only these
#: connections), ``test`` (literal subject that must match), ``account`` (id), ``limit`` (entries at most).
#: The answer's body is JSON: {"total": matching, "subscriptions": [[cid, account, subject, queue, sid,
#: messages, max], ...]} with queue "" and max 0 for none.
QUERY_SUBSCRIPTIONS = "subscriptions"
#: Query.kind: the consumers of the worker's streams. Arguments, all optional: ``account``, ``stream``,
#: ``consumer`` (names), ``config`` (with configurations), ``after`` ([account, stream, consumer]: only those
#: behind it). JSON: {"consumers": [[account, stream, ConsumerInfo], ...] in order, "more": others are left}.
QUERY_CONSUMERS = "consumers"
#: Query.kind, before Stop: whoever waits for messages of this worker's consumers is told that the server
#: stops, and that is in the ring when the answer comes. No arguments; the answer's body is {}.
QUERY_FAREWELL = "farewell"


@dataclass(frozen=True, slots=True)
class Attach:
    """First message to a worker. Descriptors: board; then ring, interest, doorbell of worker 0, 1, ...;
    then the worker's own connection table."""

    worker_index: int
    worker_count: int
    server_id: str
    server_name: str
    xkey: str
    host: str
    port: int  # the port really listened on
    start_ns: int  # wall clock
    generation: int  # of this worker; 1 for the first process in the slot
    generations: list[int]  # of all workers; 0: down, wait for PeerUp
    connection_rows: int
    closed_rows: int
    ring_size: int
    interest_size: int
    max_connections_here: int


@dataclass(frozen=True, slots=True)
class TakeSocket:
    """A connection to serve; one descriptor. ``state`` comes from MoveSocket and is the workers' own."""

    cid: int
    flags: int
    port: int
    ip: str
    state: bytes = b""


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A worker's process is dead for certain."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A successor has begun in this slot. Descriptors: its ring, interest and doorbell."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class LameDuck:
    """Phase LAME_DUCK_ANNOUNCE: send INFO with ``ldm``; LAME_DUCK_CLOSE: close ``count`` clients now."""

    phase: int
    count: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """Flush, close the clients and exit 0."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question for the monitoring pages. Answer soon and bounded: the page waits a second at most."""

    request: int
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReopenLog:
    """The log file was rotated: open it anew."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker is attached and serves."""

    worker: int


@dataclass(frozen=True, slots=True)
class PeerDownDone:
    """This worker holds nothing of the dead one any more."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class MoveSocket:
    """A connection that wants to live in another worker; one descriptor. It comes back as TakeSocket with
    the same ``state``, in the target, or in the sender when the target cannot take it."""

    cid: int
    target_worker: int
    port: int
    ip: str
    state: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """To a Query with the same ``request``."""

    request: int
    body: bytes


@dataclass(frozen=True, slots=True)
class WriterAttach:
    """First message to the stream-writer. Descriptors: board, log table, the writer's doorbell; then lane and
    doorbell of worker 0, 1, ...

    ``term`` is 0 at the first start, which raises the store's term. A writer that takes over from a dead one
    goes on at what is in the lanes and leaves the term alone.
    """

    worker_count: int
    lane_size: int  # bytes of data of each lane
    term: int


@dataclass(frozen=True, slots=True)
class WriterPeer:
    """A successor has begun in this worker's slot. Descriptor: its doorbell. The lane is the same."""

    worker: int


@dataclass(frozen=True, slots=True)
class Fence:
    """That worker is dead for certain: store all that it published, then say Fenced."""

    worker: int


@dataclass(frozen=True, slots=True)
class WriterReady:
    """The store is open. ``logs``: for each log {"log_id", "metadata": text or null, "damaged": reason or
    null}."""

    term: int
    probe_us: int  # the median of some syncs; 0 of a successor
    store_path: str
    logs: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class WriterFailed:
    """The store cannot be opened; the text says what to do. The writer ends."""

    text: str


@dataclass(frozen=True, slots=True)
class WriterReport:
    """For the acceptor's log. ``level``: "info", "warn" or "error"."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class WriterHealth:
    """What is wrong at the disk from now on, in words for /healthz and /jsz; empty when nothing is."""

    faults: list[str]


@dataclass(frozen=True, slots=True)
class LaneBroken:
    """That worker's lane holds garbage: nothing of it is read until it is fenced, so it should be ended."""

    worker: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """All that the dead worker published is stored or refused, and the store's term is ``term`` from here on.
    ``whole`` 0: its lane was broken, what came after the garbage was given up and has no status."""

    worker: int
    term: int
    whole: int


@dataclass(frozen=True, slots=True)
class StreamAttach:
    """To a worker with JetStream, after Attach. Descriptors: its append lane, the log table, the writer's
    doorbell. StreamNews follow: one "put" for each stream, then "end"; only then the worker is Ready."""

    lane_size: int
    rows: int  # of the log table
    seed: int  # of hashes that decide which worker owns a stream


@dataclass(frozen=True, slots=True)
class StreamNews:
    """The catalog of streams has changed. ``kind``: "put" (a stream is there, or its configuration is new;
    descriptor: its memory, if it is a memory stream and the worker owns it), "gone", "up" (a successor has
    its streams), "full" (whether memory and file streams hold all they may), "end", or "abandoned" (half of a
    restored stream, for its owner to remove)."""

    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StreamAsk:
    """A worker asks the catalog; a StreamReply with its ``request`` follows. Kinds: acceptor/jetstream.py."""

    request: int
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StreamReply:
    """To a StreamAsk. Everything the catalog told before is already in StreamNews before it."""

    request: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """A worker that is not ready yet works on: ``text`` says at what."""

    worker: int
    text: str


Message = (
    Attach | TakeSocket | PeerDown | PeerUp | LameDuck | Stop | Query | ReopenLog
    | Ready | PeerDownDone | MoveSocket | Answer
    | StreamAttach | StreamNews | StreamAsk | StreamReply | Progress
    | WriterAttach | WriterPeer | Fence | WriterReady | WriterFailed | WriterReport | LaneBroken | Fenced
    | WriterHealth
)  # fmt: skip

#: The index is the kind on the wire. Only append.
_CLASSES: tuple[type, ...] = (
    Attach,
    TakeSocket,
    PeerDown,
    PeerUp,
    LameDuck,
    Stop,
    Query,
    ReopenLog,
    Ready,
    PeerDownDone,
    MoveSocket,
    Answer,
    WriterAttach,
    WriterPeer,
    Fence,
    WriterReady,
    WriterFailed,
    WriterReport,
    LaneBroken,
    Fenced,
    StreamAttach,
    StreamNews,
    StreamAsk,
    StreamReply,
    Progress,
    WriterHealth,
)
_KINDS = {cls: kind for kind, cls in enumerate(_CLASSES)}
_NAMES = {cls: tuple(cls.__dataclass_fields__) for cls in _CLASSES}
_TAKE_SOCKET = _KINDS[TakeSocket]
_MOVE_SOCKET = _KINDS[MoveSocket]
_ANSWER = _KINDS[Answer]

#: kind, length of ip, port, flags or target, cid; then ip and state
_SOCKET_HEADER = struct.Struct("<BBHIQ")
_ANSWER_HEADER = struct.Struct("<BQ")


def encode(message: Message) -> bytes:
    """One datagram."""
    cls = type(message)
    if cls is TakeSocket or cls is MoveSocket:
        number = message.flags if cls is TakeSocket else message.target_worker
        ip = message.ip.encode()
        header = _SOCKET_HEADER.pack(_KINDS[cls], len(ip), message.port, number, message.cid)
        return header + ip + message.state
    if cls is Answer:
        return _ANSWER_HEADER.pack(_ANSWER, message.request) + message.body
    return bytes((_KINDS[cls],)) + orjson.dumps([getattr(message, name) for name in _NAMES[cls]])


def decode(datagram: bytes) -> Message:
    """The message in a datagram. Raises ProtocolError for anything that is none."""
    try:
        kind = datagram[0]
        if kind in (_TAKE_SOCKET, _MOVE_SOCKET):
            _, ip_size, port, number, cid = _SOCKET_HEADER.unpack_from(datagram)
            start = _SOCKET_HEADER.size
            ip = datagram[start : start + ip_size].decode()
            return _CLASSES[kind](cid, number, port, ip, datagram[start + ip_size :])
        if kind == _ANSWER:
            return Answer(_ANSWER_HEADER.unpack_from(datagram)[1], datagram[_ANSWER_HEADER.size :])
        return _CLASSES[kind](*orjson.loads(datagram[1:]))
    except (IndexError, TypeError, ValueError, struct.error) as error:
        raise ProtocolError(f"not a control message: {error}") from error
