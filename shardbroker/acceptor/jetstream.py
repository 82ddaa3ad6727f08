"""JetStream in the acceptor: the catalog's voice.

Workers ask (StreamAsk), the catalog decides, all workers hear (StreamNews). The order of a new stream:

1. its owner asks ``create``: name, subjects and limits are granted, a log id and a row are given;
2. the owner has the stream-writer make the log, durably;
3. the owner says ``created``; everybody hears of it; the owner gets its answer;
4. the owner answers the client.

So whoever has heard of the stream finds it in the catalog, and whatever dies in between leaves no name taken:
grants of a dead worker are settled by what is in the store (``worker_gone``).
"""

import os
import time
from collections.abc import Callable

import orjson

from shardbroker import limits
from shardbroker.acceptor.catalog import ABANDONED, DAMAGED, LIVE, RESERVED, Catalog, Entry
from shardbroker.acceptor.fabric import Fabric
from shardbroker.acceptor.stream_writer import StreamWriter
from shardbroker.acceptor.worker import Worker
from shardbroker.config.options import Options
from shardbroker.control.messages import StreamAsk, StreamAttach, StreamNews, StreamReply
from shardbroker.jetstream.api_error import ApiError
from shardbroker.jetstream.api_errors import INVALID_JSON
from shardbroker.jetstream.go_time import format_time
from shardbroker.jetstream.js_limits import JetStreamLimits
from shardbroker.jetstream.stream_config import StreamConfig, read_config_request
from shardbroker.jetstream.strict_json import RequestJsonError
from shardbroker.log import Log
from shardbroker.shm.connection_table import CID_OFFSET, parse_row


class JetStream:
    """``owner_of(account, name)`` gives a worker's index."""

    def __init__(
        self,
        fabric: Fabric,
        workers: list[Worker],
        writer: StreamWriter,
        options: Options,
        log: Log,
        owner_of,
    ):
        self.writer = writer
        self.ready = False
        self.store_path = ""
        self.probe_us = 0
        #: Log id and reason of streams that their owner found damaged when it read them.
        self.unreadable: dict[int, str] = {}
        self.memory_max, self.file_max = store_limits(options)
        account_limits = JetStreamLimits(server_memory_max=self.memory_max, server_storage_max=self.file_max)
        self.catalog = Catalog(account_limits, owner_of)
        self._fabric = fabric
        self._workers = workers
        self._options = options
        self._log = log
        self._attached: set[int] = set()
        self._full = {"memory": False, "file": False}
        # Log -> (worker, its generation, what it asked): until the stream that it asks for, too, is made.
        self._waiting: dict[int, list[tuple[Worker, int, StreamAsk]]] = {}
        self._handlers: dict[str, Callable[[Worker, dict], dict]] = {
            "create": self._create,
            "created": self._created,
            "update": self._update,
            "updated": self._updated,
            "reserved": self._reserved,
            "dropped": self._dropped,
            "unreadable": self._found_unreadable,
            "sync": lambda _worker, _body: {},
            "client": self._client,
        }
        self.on_failed: Callable[[str], None] = lambda _: None
        writer.on_ready = self._writer_ready
        writer.on_failed = lambda text: self.on_failed(text)

    # --- start ------------------------------------------------------------------------------------------

    def attach(self, worker: Worker) -> None:
        """A worker has got its Attach message: give it its lane and, once the store is open, the catalog."""
        descriptors = (
            self._fabric.lanes[worker.index].fd, self._fabric.log_table.fd, self._fabric.writer_doorbell,
        )  # fmt: skip
        worker.send(StreamAttach(self._fabric.lane_size, limits.log_rows_max, 0), descriptors)
        if self.ready:
            self._tell_all(worker)
        else:
            self._attached.add(worker.index)

    def _writer_ready(self, listing: dict) -> None:
        self.store_path = listing["store_path"]
        self.probe_us = listing["probe_us"]
        self.catalog.begin_term(listing["term"])
        for found in listing["logs"]:
            self._load(found)
        self.ready = True
        self._tell_mode()
        for index in sorted(self._attached):
            self._tell_all(self._workers[index])
        self._attached.clear()

    def _load(self, found: dict) -> None:
        stored = None
        if found["metadata"] is not None:
            try:
                stored = orjson.loads(found["metadata"])
            except ValueError:
                found["damaged"] = "its metadata is no JSON"
        entry = self.catalog.load(found["log_id"], stored, found["damaged"])
        if entry.state == ABANDONED:
            self._log.warn(f"JetStream: the restore of stream {entry.name} was not finished: it is removed")
        elif entry.state != LIVE:
            self._log.error(f"JetStream: log {entry.log_id:08x} is damaged: {entry.reason}")

    def _tell_mode(self) -> None:
        per_second = 1_000_000 // max(1, self.probe_us)
        mode = "commit (acknowledged when it is on disk)"
        if not self._options.sync_commit:
            every = f"{self._options.sync_interval_s:g}s"
            mode = f"interval (acknowledged before it is on disk, synced every {every})"
        self._log.info("Starting JetStream")
        self._log.info(f"  Store Directory: {self.store_path}")
        self._log.info(f"  Max Memory:      {self.memory_max}")
        self._log.info(f"  Max Storage:     {self.file_max}")
        self._log.info(f"  Sync:            {mode}")
        self._log.info(f"  Disk:            a sync takes {self.probe_us} us, about {per_second} a second")

    def _tell_all(self, worker: Worker) -> None:
        for entry in self.catalog.entries():
            self._put(worker, entry)
        worker.send(StreamNews("full", self._full))
        worker.send(StreamNews("end", {"term": self.writer.term, "store": self.store_path}))
        for entry in self.catalog.abandoned(worker.index):
            worker.send(StreamNews("abandoned", _described(entry)))

    def _put(self, worker: Worker, entry: Entry) -> None:
        descriptors = ()
        if entry.memory_fd >= 0 and entry.owner == worker.index:
            descriptors = (entry.memory_fd,)
        worker.send(StreamNews("put", _described(entry)), descriptors)

    def worker_up(self, worker: Worker) -> None:
        """A worker has all its streams: tell the others that nobody needs to wait for it any more."""
        if worker.generation > 1:
            for other in self._workers:
                if other is not worker:
                    other.send(StreamNews("up", {"worker": worker.index}))

    # --- room -------------------------------------------------------------------------------------------

    def watch_room(self) -> None:
        """Compare what all streams hold with what they may, and tell the workers when that changes.

        Between two looks publishers may go over the limit by what they send in that time.
        """
        held = {"memory": 0, "file": 0}
        for entry in self.catalog.by_log.values():
            held[entry.config.storage] += self._fabric.log_bytes(entry.row)
        full = {"memory": held["memory"] >= self.memory_max, "file": held["file"] >= self.file_max}
        if full != self._full:
            self._full = full
            for storage, is_full in full.items():
                if is_full:
                    self._log.warn(
                        f"JetStream: all {storage} streams together hold {held[storage]} bytes, which is "
                        "all they may: publishes are refused until room is made, or "
                        f"--max_{storage}_store is raised"
                    )
            for worker in self._workers:
                worker.send(StreamNews("full", full))

    # --- questions --------------------------------------------------------------------------------------

    def asked(self, worker: Worker, message: StreamAsk) -> None:
        """A worker's question: answered after the news that it makes."""
        descriptors: tuple[int, ...] = ()
        try:
            body = self._handlers[message.kind](worker, message.body)
            if "wait" in body:
                waiting = self._waiting.setdefault(body["wait"], [])
                waiting.append((worker, worker.generation, message))
                return
            memory_fd = body.pop("memory_fd", -1)
            if memory_fd >= 0:
                descriptors = (memory_fd,)
        except ApiError as error:
            body = {"error": [error.code, error.err_code, error.description]}
        worker.send(StreamReply(message.request, body), descriptors)

    def _create(self, worker: Worker, body: dict) -> dict:
        if body.get("restore"):
            config, pedantic = StreamConfig.from_stored(body["body"].encode("latin-1")), False
        else:
            config, pedantic = _read(body)
        entry, is_new = self.catalog.create(
            body["account"],
            body["name"],
            config,
            pedantic,
            now_ns=time.time_ns(),
            seed=int.from_bytes(os.urandom(8), "little") >> 1,
            restore=bool(body.get("restore")),
        )
        if not is_new:
            return {"wait": entry.log_id} if entry.state == RESERVED else {"same": True}
        entry.reserved = max(entry.config.first_seq, 1) - 1 + (1 << 20)
        self._fabric.clear_log_row(entry.row)
        described = _described(entry)
        if entry.config.storage == "memory":
            entry.memory_fd = os.memfd_create(f"shardbroker-stream-{entry.log_id:08x}", os.MFD_CLOEXEC)
            described["memory_fd"] = entry.memory_fd
        described["stored"] = orjson.dumps(entry.stored()).decode()
        return described

    def _created(self, worker: Worker, body: dict) -> dict:
        entry = self.catalog.finish_create(body["log_id"])
        if entry is not None:
            entry.reserved = max(entry.reserved, body.get("reserved", 0))
            self._broadcast(entry, worker)
        self._ask_again(body["log_id"])
        return {}

    def _ask_again(self, log_id: int) -> None:
        """A stream is made, or could not be: those who asked for the same are told, or make it."""
        for worker, generation, message in self._waiting.pop(log_id, ()):
            if worker.generation == generation:
                self.asked(worker, message)

    def _reserved(self, _worker: Worker, body: dict) -> dict:
        """A stream's metadata reserve more sequences now: a successor of its owner must know."""
        entry = self.catalog.by_log.get(body["log_id"])
        if entry is not None:
            entry.reserved = max(entry.reserved, body["reserved"])
        return {}

    def _update(self, worker: Worker, body: dict) -> dict:
        config, pedantic = _read(body)
        entry = self.catalog.update(body["account"], body["name"], config, pedantic)
        stored = entry.stored()
        stored["config"] = entry.pending_config.to_json_dict()
        return {"config": stored["config"], "stored": orjson.dumps(stored).decode()}

    def _updated(self, worker: Worker, body: dict) -> dict:
        entry = self.catalog.finish_update(body["log_id"], body["ok"])
        if entry is not None and body["ok"]:
            self._broadcast(entry, worker)
        return {}

    def _dropped(self, worker: Worker, body: dict) -> dict:
        """The stream was deleted, or could not be made."""
        self._remove(body["log_id"], worker)
        return {}

    def _found_unreadable(self, worker: Worker, body: dict) -> dict:
        """The store has it and its owner cannot read it. A successor reads it again."""
        self.unreadable[body["log_id"]] = body["reason"]
        return {}

    def damaged(self) -> list[tuple[Entry, str]]:
        """Streams that do not serve because of what is on disk, and why."""
        damaged = [(entry, entry.reason) for entry in self.catalog.entries() if entry.state == DAMAGED]
        for log_id, reason in self.unreadable.items():
            entry = self.catalog.by_log.get(log_id)
            if entry is not None and entry.state == LIVE:
                damaged.append((entry, reason))
        return damaged

    def _remove(self, log_id: int, teller: Worker | None) -> None:
        entry = self.catalog.remove(log_id)
        self.unreadable.pop(log_id, None)
        if entry is None:
            return
        if entry.memory_fd >= 0:
            os.close(entry.memory_fd)
        if entry.state not in (RESERVED, ABANDONED):
            for worker in self._workers:
                if worker is not teller:
                    worker.send(StreamNews("gone", {"account": entry.account, "name": entry.name}))
        self._ask_again(log_id)

    def _broadcast(self, entry: Entry, teller: Worker) -> None:
        for worker in self._workers:
            if worker is not teller:
                self._put(worker, entry)

    def _client(self, _worker: Worker, body: dict) -> dict:
        """Who a client is, as advisories show it; nothing of one that has left."""
        wanted = body["cid"].to_bytes(8, "little")
        for regions in self._fabric.regions:
            for raw in regions.connection_table.open_rows():
                if raw[CID_OFFSET : CID_OFFSET + 8] == wanted:
                    row = parse_row(raw)
                    return {
                        "start": format_time(row["start_ns"]),
                        "host": row["ip"],
                        "name": row["name"],
                        "lang": row["lang"],
                        "ver": row["version"],
                        "rtt": row["rtt_ns"],
                    }
        return {}

    def worker_gone(self, index: int) -> None:
        """A worker is dead and its lane is stored to the end: what it was just making is there or not."""
        for entry in list(self.catalog.by_log.values()):
            if entry.owner != index:
                continue
            self.unreadable.pop(entry.log_id, None)
            if entry.pending_config is not None:
                stored = self._newest(entry)
                ok = stored is not None and stored["config"] == entry.pending_config.to_json_dict()
                self.catalog.finish_update(entry.log_id, ok)
            if entry.state == RESERVED:
                stored = self._newest(entry) if entry.config.storage == "file" else None
                if stored is None or stored["config"] != entry.config.to_json_dict():
                    self._remove(entry.log_id, None)
                elif stored.get("restoring"):
                    entry.state = ABANDONED
                else:
                    self.catalog.finish_create(entry.log_id)
            elif entry.config.storage == "file" and not os.path.isdir(self._log_directory(entry)):
                self._remove(entry.log_id, None)  # it was being deleted

    def _log_directory(self, entry: Entry) -> str:
        from shardbroker.storage.layout import LOGS, log_name

        return f"{self.store_path}/{LOGS}/{log_name(entry.log_id)}"

    def _newest(self, entry: Entry) -> dict | None:
        """What the newest metadata slot of the log has. Reads; the writer alone writes."""
        from shardbroker.storage import metadata
        from shardbroker.storage.layout import CONFIG_SLOTS

        contents: list[bytes | None] = []
        for name in CONFIG_SLOTS:
            try:
                with open(f"{self._log_directory(entry)}/{name}", "rb") as file:
                    contents.append(file.read())
            except OSError:
                contents.append(None)
        newest = metadata.Slots(contents).body
        return None if newest is None else orjson.loads(newest)


def _described(entry: Entry) -> dict:
    """What workers keep of a stream."""
    return {
        "account": entry.account,
        "name": entry.name,
        "config": entry.config.to_json_dict(),
        "log_id": entry.log_id,
        "row": entry.row,
        "owner": entry.owner,
        "created": entry.created,
        "seed": entry.seed,
        "reserved": entry.reserved,
        "damaged": entry.reason if entry.state not in (LIVE, RESERVED) else "",
    }


def _read(body: dict) -> tuple[StreamConfig, bool]:
    try:
        return read_config_request(body["body"].encode("latin-1"))
    except RequestJsonError as error:
        raise INVALID_JSON(err=str(error)) from error


def store_limits(options: Options) -> tuple[int, int]:
    """Bytes for all memory streams and for all file streams: as asked, else a share of the machine's."""
    memory, files = options.max_memory_store, options.max_file_store
    if memory < 0:
        memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * limits.memory_share)
    if files < 0:
        directory = options.store_dir
        while directory and not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        space = os.statvfs(directory or ".")
        files = int(space.f_bavail * space.f_frsize * limits.disk_share)
    return memory, files
