"""A worker without a broker inside: it does its part of the control messages, and what clients tell it.

Lets the acceptor be tested alone, and made to misbehave. A client line and what follows:

    PING     PONG
    CRASH    the process ends with code 7
    HANG     the process stops beating and serving
    MOVE n   the connection moves to worker n, which says MOVED
    WHO      "worker generation peers", peers being the generations it believes in
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import time

from shardbroker.control.channel import Channel
from shardbroker.control.messages import (
    REJECT,
    Answer,
    Attach,
    LameDuck,
    MoveSocket,
    PeerDown,
    PeerDownDone,
    PeerUp,
    Query,
    Ready,
    Stop,
    TakeSocket,
)
from shardbroker.control.parent_death import die_with_parent
from shardbroker.shm import layout
from shardbroker.shm.worker_table import STATISTIC


def main(sock: socket.socket, worker_index: int, options: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(os.getppid())
    if "STUB_FAILS" in os.environ:
        os._exit(3)
    StubWorker(Channel(sock), worker_index).run()


class StubWorker:
    def __init__(self, channel: Channel, index: int):
        self.channel = channel
        self.index = index
        self.clients: dict[int, tuple[socket.socket, TakeSocket, int]] = {}  # fd -> socket, message, row
        self.generations: list[int] = []
        self.closed = 0

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self.channel.fileno(), *self.clients], [], [], 0.05)
            if self.generations:
                self.beat()
            for fd in readable:
                if fd == self.channel.fileno():
                    while (received := self.channel.receive()) is not None:
                        self.control(*received)
                elif fd in self.clients:
                    self.serve(fd)

    def control(self, message: object, fds: list[int]) -> None:
        match message:
            case Attach():
                self.attach(message, fds)
                self.channel.send(Ready(self.index))
            case TakeSocket():
                self.take(message, fds[0])
            case PeerDown(worker, generation):
                if self.generations[worker] == generation:
                    self.generations[worker] = 0
                self.channel.send(PeerDownDone(worker, generation))
            case PeerUp(worker, generation):
                assert self.generations[worker] == 0
                assert len(fds) == 3
                self.generations[worker] = generation
            case LameDuck(phase, count):
                for fd in list(self.clients)[: count if phase == 2 else None]:
                    if phase == 1:
                        self.clients[fd][0].send(b"LDM\r\n")
                    else:
                        self.drop(fd)
            case Query(request, _, arguments):
                rows = [
                    [take.cid, 0, f"s.{take.cid}", "q", "1", 3, 5] for _, take, _ in self.clients.values()
                ]
                wanted = arguments.get("cids")
                rows = [row for row in rows if wanted is None or row[0] in wanted]
                body = {"total": len(rows), "subscriptions": rows[: arguments.get("limit", 10**6)]}
                self.channel.send(Answer(request, json.dumps(body).encode()))
            case Stop():
                os._exit(0)

    def attach(self, message: Attach, fds: list[int]) -> None:
        import mmap

        assert len(fds) == 2 + 3 * message.worker_count
        self.generations = list(message.generations)
        self.board = memoryview(mmap.mmap(fds[0], layout.BOARD_SIZE))
        size = layout.connection_table_size(message.connection_rows, message.closed_rows)
        self.table = mmap.mmap(fds[-1], size)
        self.rows = message.connection_rows
        self.closed_rows = message.closed_rows
        self.generation = message.generation
        start = layout.worker_row(self.index)
        self.cells = self.board[start : start + layout.WORKER_ROW_SIZE].cast("Q")

    def count(self, name: str, change: int) -> None:
        self.cells[layout.WORKER_STATISTICS // 8 + STATISTIC[name]] += change

    def beat(self) -> None:
        self.cells[layout.WORKER_HEARTBEAT // 8] = time.monotonic_ns()

    def take(self, message: TakeSocket, fd: int) -> None:
        client = socket.socket(fileno=fd)
        if message.flags & REJECT:
            client.sendall(b"FULL\r\n")
            client.close()
            return
        used = {row for _, _, row in self.clients.values()}
        row = next(number for number in range(self.rows) if number not in used)
        self.clients[fd] = client, message, row
        self.count("connections", 1)
        self.count("connections_total", 1)
        now = time.time_ns()
        fields = {
            **dict.fromkeys((name for name, _, _ in layout.CONNECTION_FIELDS), 0),
            **{
                "state": 1,
                "port": message.port,
                "cid": message.cid,
                "start_ns": now,
                "last_activity_ns": now,
            },
            **{
                "rtt_ns": 1_234_567,
                "in_msgs": message.cid,
                "in_bytes": 5,
                "subscriptions": 1,
                "connected": 1,
            },
            **{"ip": message.ip.encode(), "lang": b"stub", "version": b"1.0"},
            "name": f"c{message.cid}".encode(),
        }
        for name, offset, kind in layout.CONNECTION_FIELDS:
            struct.pack_into(f"<{kind}", self.table, self.place(row) + offset, fields[name])
        with contextlib.suppress(ConnectionError):
            client.sendall(
                b"MOVED\r\n" if message.state else f"HELLO {message.cid} {self.index}\r\n".encode()
            )

    def place(self, row: int) -> int:
        return layout.CONNECTIONS_ROWS + row * layout.CONNECTION_ROW_SIZE

    def drop(self, fd: int, *, moved: bool = False) -> None:
        client, _, row = self.clients.pop(fd)
        start, size = self.place(row), layout.CONNECTION_ROW_SIZE
        if not moved:
            closed = self.place(self.rows + self.closed % self.closed_rows)
            self.closed += 1
            self.table[closed : closed + size] = self.table[start : start + size]
            struct.pack_into("<I", self.table, closed, 2)
            struct.pack_into("<H", self.table, closed + 6, layout.CLOSE_REASONS.index("Client Closed"))
            struct.pack_into("<Q", self.table, closed + 24, time.time_ns())
        self.table[start : start + size] = bytes(size)
        self.count("connections", -1)
        client.close()

    def serve(self, fd: int) -> None:
        client, message, _ = self.clients[fd]
        try:
            line = client.recv(1000).strip()
        except ConnectionError:
            line = b""
        match line.split():
            case []:
                self.drop(fd)
            case [b"PING"]:
                client.sendall(b"PONG\r\n")
            case [b"CRASH"]:
                os._exit(7)
            case [b"HANG"]:
                time.sleep(3600)
            case [b"WHO"]:
                client.sendall(f"{self.index} {self.generation} {self.generations}\r\n".encode())
            case [b"MOVE", target]:
                move = MoveSocket(message.cid, int(target), message.port, message.ip, b"opaque")
                assert self.channel.send(move, (fd,))
                self.count("connections_moved", 1)
                self.drop(fd, moved=True)
