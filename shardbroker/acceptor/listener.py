"""A listening socket: bound before anything else starts, accepting only when told to.

Accepting pauses by itself when descriptors run out (EMFILE, ENFILE, no memory): the connection stays in
the backlog and is served later, whereas the usual trick of accepting and closing it would turn a short
shortage into errors.
"""

import errno
import socket
from collections.abc import Callable

from shardbroker import limits
from shardbroker.acceptor.event_loop import EventLoop
from shardbroker.errors import StartError

_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


#: Hosts that mean every address of the machine, of both families, as Go takes them.
_EVERYWHERE = ("", "0.0.0.0", "::")
#: A kernel built or booted without IPv6 says one of these to a socket or to its bind.
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL)
_MAPPED_PREFIX = "::ffff:"


def open_listener(host: str, port: int) -> socket.socket:
    """A socket bound to ``host``:``port`` (-1: any free port) with its backlog open.

    An unspecified host takes IPv4 and IPv6 through one socket. Raises StartError in nats-server's words, so
    that scripts which look for them go on working.
    """
    wanted = max(0, port)
    if port > 65535:
        raise StartError(f"listen tcp: address {wanted}: invalid port")
    try:
        if host in _EVERYWHERE:
            return _listen_everywhere(wanted)
        found = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _listen(found[0][0], found[0][4])
    except socket.gaierror as error:
        raise StartError(f"listen tcp: lookup {host}: {error.strerror}") from error
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        raise StartError(f"listen tcp {host_port(host or '0.0.0.0', wanted)}: bind: {text}") from error


def _listen_everywhere(port: int) -> socket.socket:
    """One socket for both families where the machine has IPv6."""
    try:
        return _listen(socket.AF_INET6, ("::", port))
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
        return _listen(socket.AF_INET, ("0.0.0.0", port))


def _listen(family: socket.AddressFamily, address: tuple) -> socket.socket:
    """Bound and listening. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it: without it Nagle's algorithm holds a reply back for up to 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address[0] == "::":
            # Said, because the machine's default (net.ipv6.bindv6only) may be the other.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(limits.listen_backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def host_port(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_address(ip: str) -> str:
    """A peer's address as it is written everywhere: an IPv4 peer of an IPv6 socket shows as IPv4."""
    return ip[len(_MAPPED_PREFIX) :] if ip.startswith(_MAPPED_PREFIX) and "." in ip else ip


class Listener:
    """Accepts from ``sock`` and gives each connection to ``take(fd, ip, port)`` while ``has_room()``."""

    def __init__(
        self,
        sock: socket.socket,
        loop: EventLoop,
        take: Callable[[int, str, int], None],
        has_room: Callable[[], bool],
        complain: Callable[[str], None],
    ):
        self._sock = sock
        self._loop = loop
        self._take = take
        self._has_room = has_room
        self._complain = complain
        self._pause_s = limits.accept_pause_s_min
        self._wanted = False
        self._watched = False

    @property
    def port(self) -> int:
        return self._sock.getsockname()[1]

    def start(self) -> None:
        self._wanted = True
        self.resume()

    def resume(self) -> None:
        """Go on after a pause; does nothing when not paused or not started."""
        if self._wanted and not self._watched:
            self._watched = True
            self._loop.add_reader(self._sock.fileno(), self._readable)

    def close(self) -> None:
        self._wanted = False
        self._pause()
        self._sock.close()

    def _pause(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._sock.fileno())

    def _readable(self) -> None:
        for _ in range(limits.accepts_per_turn_max):
            if not self._has_room():
                self._pause()
                return
            try:
                connection, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORTAGE:
                    return  # the connection failed before it was accepted; others may be fine
                self._complain(
                    f"Temporary Client Accept Error ({error.strerror}), sleeping {self._pause_s:g}s"
                )
                self._pause()
                self._loop.call_later(self._pause_s, self.resume)
                self._pause_s = min(2 * self._pause_s, limits.accept_pause_s_max)
                return
            self._pause_s = limits.accept_pause_s_min
            self._take(connection.detach(), peer_address(address[0]), address[1])
