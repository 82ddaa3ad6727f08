"""One end of the control connection between the acceptor and a worker.

A SOCK_SEQPACKET socket pair: message borders are kept, descriptors travel with their message (SCM_RIGHTS),
and the end of the other process is an end of file. Nothing here waits: a full channel answers False, an
empty one None, and the caller's event loop decides when to try again.

A datagram may not be larger than the socket's send buffer, so an answer that is (a list of a million
subscriptions) is spilled into a memfd that travels as the last descriptor; the receiver does not notice.
"""

import array
import errno
import os
import socket

from shardbroker.control.messages import Message, decode, encode
from shardbroker.errors import ProtocolError

#: Bytes of one datagram. Linux allows about the send buffer (208 KiB by default).
DATAGRAM_SIZE_MAX = 64 << 10
#: Bytes of a spilled message; more is a bug of the sender.
SPILLED_SIZE_MAX = 256 << 20
#: The kernel's SCM_MAX_FD.
DESCRIPTORS_MAX = 253
#: First byte of a datagram whose message is in the memfd sent last; no message kind reaches it.
_SPILLED = b"\xff"

_ANCILLARY_SIZE = socket.CMSG_SPACE(DESCRIPTORS_MAX * 4)
#: "Would block" has several names: a full buffer, no kernel memory, and too many descriptors in flight
#: (the kernel allows a user RLIMIT_NOFILE of them).
_FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)


class Channel:
    """Owns ``sock``, a connected SOCK_SEQPACKET socket."""

    def __init__(self, sock: socket.socket):
        sock.setblocking(False)
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def send(self, message: Message, fds: tuple[int, ...] | list[int] = ()) -> bool:
        """Send one message and copies of ``fds`` (the caller still owns its own).

        False: would block, nothing was sent. Raises EOFError when the peer is gone.
        """
        data = encode(message)
        if len(data) <= DATAGRAM_SIZE_MAX:
            return self._send(data, fds)
        assert len(data) <= SPILLED_SIZE_MAX
        spilled = os.memfd_create("shardbroker-message", os.MFD_CLOEXEC)
        try:
            with open(spilled, "wb", closefd=False) as file:
                file.write(data)
            return self._send(_SPILLED, (*fds, spilled))
        finally:
            os.close(spilled)

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and the descriptors that came with it, which now belong to the caller.

        None: nothing there. Raises EOFError when the peer is gone, ProtocolError for what is no message.
        """
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(
                DATAGRAM_SIZE_MAX, _ANCILLARY_SIZE, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionError as error:
            raise EOFError("the control channel's peer is gone") from error
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        if not data:
            raise EOFError("the control channel's peer is gone")
        try:
            # MSG_CTRUNC: this process has no free descriptor left and the kernel dropped what was sent.
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ProtocolError("a control message lost its end or its descriptors")
            if data == _SPILLED:
                data = _read_spilled(fds)
            return decode(data), list(fds)
        except ProtocolError:
            for fd in fds:
                os.close(fd)
            raise

    def _send(self, data: bytes, fds: tuple[int, ...] | list[int]) -> bool:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([data], ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionError) as error:
            raise EOFError("the control channel's peer is gone") from error
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise
        return True


def _read_spilled(fds: array.array) -> bytes:
    """Take the memfd off the end of ``fds`` and give its bytes."""
    if not fds:
        raise ProtocolError("a spilled control message came without its memfd")
    fd = fds.pop()
    try:
        size = os.fstat(fd).st_size
        if size > SPILLED_SIZE_MAX:
            raise ProtocolError(f"a spilled control message of {size} bytes is too large")
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)
