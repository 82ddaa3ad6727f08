"""Arguments -> what to do: serve, tell the version or the usage, or send a signal to a running broker.

Exit codes are nats-server's: 1 for what cannot be done, and 0, with the usage text, for a command line
that cannot be read (its flag set prints the usage and leaves normally; scripts may count on either).
"""

import os
import sys

from shardbroker.errors import ConfigError, UsageError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    from shardbroker.cli.arguments import parse_arguments
    from shardbroker.cli.usage import USAGE, VERSION

    program = program_name(sys.argv[0])
    try:
        command = parse_arguments(sys.argv[1:] if arguments is None else arguments)
        if command.action == "help":
            print(USAGE)
            return 0
        if command.action == "version":
            print(VERSION)
            return 0
        if command.action == "signal":
            from shardbroker.cli.signal_server import send_signal

            send_signal(command.signal, program)
            return 0
        from shardbroker.cli.serve import serve

        return serve(command.options, program)
    except UsageError as error:
        print(error, file=sys.stderr)
        print(USAGE)
        return 0
    except ConfigError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1


def program_name(path: str) -> str:
    """``nats-server`` when started under that name (a link in its place), else ``shardbroker``."""
    return "nats-server" if os.path.basename(path) == "nats-server" else "shardbroker"
