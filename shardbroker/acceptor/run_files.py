"""The files an operator may ask for: the pid file, and the ports file that tells which ports are used.

Both are written under another name and then renamed, so that who waits for the file never reads half of
it. The ports file goes away with the broker, the pid file stays, as with nats-server.
"""

import contextlib
import os
import socket

import orjson


def write_pid_file(path: str) -> None:
    """The pid in decimal, no newline. Raises OSError."""
    _write(path, str(os.getpid()).encode())


def ports_file_path(directory: str, program: str) -> str:
    """nats-server names it by its executable, so under that name we do as well."""
    return os.path.join(directory, f"{program}_{os.getpid()}.ports")


def write_ports_file(path: str, clients: socket.socket, monitoring: socket.socket | None) -> None:
    """JSON: kind of port -> URLs. Raises OSError."""
    ports = {"nats": _urls("nats", clients)}
    if monitoring is not None:
        ports["monitoring"] = _urls("http", monitoring)
    _write(path, orjson.dumps(ports))


def remove(path: str) -> None:
    """Gone already is fine."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _write(path: str, content: bytes) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def _urls(scheme: str, sock: socket.socket) -> list[str]:
    """One URL for each address the socket can be reached at."""
    host, port = sock.getsockname()[:2]
    if host not in ("0.0.0.0", "::"):
        hosts = [host]
    else:
        import psutil  # only here: it is slow to import

        # A socket bound to "::" takes both families.
        families = (socket.AF_INET,) if host == "0.0.0.0" else (socket.AF_INET, socket.AF_INET6)
        addresses = [each for interface in psutil.net_if_addrs().values() for each in interface]
        hosts = [each.address.partition("%")[0] for each in addresses if each.family in families]
    return [f"{scheme}://[{each}]:{port}" if ":" in each else f"{scheme}://{each}:{port}" for each in hosts]
