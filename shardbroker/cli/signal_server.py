"""``--signal command[=pid]``: tell a running broker what to do."""

import os
import signal

from shardbroker.errors import ConfigError

SIGNALS = {
    "stop": signal.SIGKILL,
    "quit": signal.SIGINT,
    "term": signal.SIGTERM,
    "reopen": signal.SIGUSR1,
    "reload": signal.SIGHUP,
    "ldm": signal.SIGUSR2,
}


def send_signal(argument: str, program: str) -> None:
    """``argument`` is ``command``, ``command=pid`` or ``command=pid file``; a pid may end with ``*`` to mean
    all that begin so. Raises ConfigError with nats-server's texts."""
    command, _, target = argument.partition("=")
    if target and os.path.exists(target):
        with open(target, encoding="ascii", errors="replace") as file:
            target = file.read().strip()
    several = target.endswith("*")
    prefix = target.removesuffix("*")
    if prefix and not prefix.isdecimal():
        raise ConfigError(f"invalid pid: {prefix}")
    pids = running_brokers() if several or not prefix else [int(prefix)]
    if several:
        pids = [pid for pid in pids if str(pid).startswith(prefix)]
    elif len(pids) > 1:
        raise ConfigError("\n".join([f"multiple {program} processes running:", *map(str, pids)]))
    if not pids:
        raise ConfigError(f"no {program} processes running")
    if command not in SIGNALS:
        raise ConfigError(f'unknown signal "{command}"')
    failed = ""
    for pid in pids:
        try:
            os.kill(pid, SIGNALS[command])
        except OSError as error:
            failed += f'\nsignal "{command}" {pid}: {(error.strerror or "").lower()}'
    if failed:
        raise ConfigError(failed)


def running_brokers() -> list[int]:
    """Pids of all acceptors on this machine but this process, by their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if is_acceptor(words):
                found.append(int(name))
    return sorted(found)


def is_acceptor(words: list[bytes]) -> bool:
    """Whether a command line is ``python [flags] .../shardbroker ...`` or ``python -m shardbroker ...``.

    Workers and the forkserver run a program given by -c, so they never match.
    """
    if not words or b"python" not in os.path.basename(words[0]):
        return False
    for index, word in enumerate(words[1:], start=1):
        if word == b"-m":
            return words[index + 1 : index + 2] == [b"shardbroker"]
        if word == b"-c":
            return False
        if not word.startswith(b"-"):
            return os.path.basename(word) in (b"shardbroker", b"nats-server")
    return False
