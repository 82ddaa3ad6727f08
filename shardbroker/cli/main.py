"""Arguments -> what to do: serve, tell the version or the usage, or send a signal to a running broker.

Exit codes are nats-server's: 1 for what cannot be done, and 0, with the usage text, for a command line
that cannot be read (its flag set prints the usage and leaves normally; scripts may count on either).
"""

import os
import sys

from shardbroker.acceptor.forkserver import Forkserver
from shardbroker.errors import ConfigError, UsageError

#: Flags and words with which the command does something else than serve.
_NOT_SERVING = ("h", "help", "v", "version", "sl", "signal")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    program = program_name(sys.argv[0])
    if arguments[:1] == ["inspect"]:
        from shardbroker.cli.inspect import inspect

        return inspect(arguments[1:])
    if arguments[:1] == ["consumer"]:
        from shardbroker.cli.consumer import consumer

        return consumer(arguments[1:])
    if arguments[:1] == ["dlq"]:
        from shardbroker.cli.dlq import dlq

        return dlq(arguments[1:])
    # Before anything is parsed or imported: it takes longest to boot, and boots on another core meanwhile.
    # A guess: if the arguments turn out to be wrong, it ends with us.
    forkserver = None
    if looks_like_serving(arguments):
        forkserver = Forkserver(jetstream=asks_for_jetstream(arguments))
    try:
        return run(arguments, program, forkserver)
    except UsageError as error:
        from shardbroker.cli.usage import USAGE

        print(error, file=sys.stderr)
        tell(USAGE)
        return 0
    except ConfigError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    finally:
        if forkserver is not None:
            forkserver.close()


def run(arguments: list[str], program: str, forkserver: Forkserver | None) -> int:
    """Do what the arguments say. Raises UsageError and ConfigError."""
    from shardbroker.cli.arguments import parse_arguments
    from shardbroker.cli.usage import USAGE, VERSION

    command = parse_arguments(arguments)
    if command.action == "help":
        tell(USAGE)
    elif command.action == "version":
        tell(VERSION)
    elif command.action == "signal":
        from shardbroker.cli.signal_server import send_signal

        send_signal(command.signal, program)
    else:
        from shardbroker.cli.serve import serve

        return serve(command.options, program, forkserver)
    return 0


def tell(text: str) -> None:
    """To stdout; a reader that has seen enough (``| head``) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes stdout once more at its end: to where that cannot fail.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def asks_for_jetstream(arguments: list[str]) -> bool:
    """Whether some argument looks like the flag for it."""
    return any(argument.lstrip("-").partition("=")[0] in ("js", "jetstream") for argument in arguments)


def looks_like_serving(arguments: list[str]) -> bool:
    """False when some argument says otherwise."""
    return not any(argument.lstrip("-").partition("=")[0].lower() in _NOT_SERVING for argument in arguments)


def program_name(path: str) -> str:
    """``nats-server`` when started under that name (a link in its place), else ``shardbroker``."""
    return "nats-server" if os.path.basename(path) == "nats-server" else "shardbroker"
