"""``shardbroker dlq``: look at dead letters in the stream that collects them, and send them once more.

    shardbroker dlq ls STREAM [--last N] [--json]
    shardbroker dlq show STREAM SEQUENCE [--raw | --hex] [--bytes N]
    shardbroker dlq redrive STREAM (--seq N ... | --all | --from-consumer NAME) [--to SUBJECT] [--dry-run]

An ordinary client (nats-py): it works from any machine, and needs the rights to read, publish and delete.
Exit code: 0 all is done, 1 some letters could not be sent once more and are still there, 2 nothing was done.
"""

import argparse
import asyncio
import sys

from shardbroker.cli.broker_client import ClientProblem, add_server_option
from shardbroker.cli.dlq_ls import DEFAULT_LAST, ls
from shardbroker.cli.dlq_redrive import Wish, redrive
from shardbroker.cli.dlq_show import DEFAULT_BYTES, show
from shardbroker.cli.stream_client import StreamClient
from shardbroker.decimals import unsigned

_NUMBER_MAX = 2**64 - 1


def dlq(arguments: list[str]) -> int:
    """Run the command; gives the exit code."""
    options = parser().parse_args(arguments)
    try:
        return asyncio.run(run(options))
    except ClientProblem as problem:
        print(f"shardbroker dlq: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


async def run(options: argparse.Namespace) -> int:
    """Connect, and do it. Raises ClientProblem."""
    async with StreamClient(options.server) as client:
        if options.action == "ls":
            return await ls(client, options.stream, options.last, as_json=options.json)
        if options.action == "show":
            return await show(
                client, options.stream, options.sequence,
                raw=options.raw, as_hex=options.hex, bytes_max=options.bytes,
            )  # fmt: skip
        sequences = sorted(set(options.seq)) if options.seq else None
        wish = Wish(sequences, options.from_consumer, options.to, options.dry_run)
        return await redrive(client, options.stream, wish)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    server = argparse.ArgumentParser(add_help=False)
    add_server_option(server)
    whole = argparse.ArgumentParser(
        prog="shardbroker dlq", description="Dead letters: messages that a consumer has given up."
    )
    actions = whole.add_subparsers(dest="action", required=True, metavar="ls | show | redrive")

    one = actions.add_parser("ls", parents=[server], help="how many there are, and the last of them")
    one.add_argument("stream", metavar="STREAM", help="the stream that collects them")
    one.add_argument("-n", "--last", type=_count, default=DEFAULT_LAST, metavar="N", help="so many lines")
    one.add_argument("--json", action="store_true", help="one JSON object instead of tables")

    one = actions.add_parser("show", parents=[server], help="one of them: headers and payload")
    one.add_argument("stream", metavar="STREAM", help="the stream that collects them")
    one.add_argument("sequence", type=_sequence, metavar="SEQUENCE", help="its number there")
    one.add_argument(
        "--bytes", type=_count, default=DEFAULT_BYTES, metavar="N", help="of the payload at most"
    )
    form = one.add_mutually_exclusive_group()
    form.add_argument("--hex", action="store_true", help="the payload in hexadecimal, also if it is text")
    form.add_argument("--raw", action="store_true", help="nothing but the payload, as it is")

    one = actions.add_parser(
        "redrive", parents=[server], help="send them to their subjects once more, and remove them"
    )
    one.add_argument("stream", metavar="STREAM", help="the stream that collects them")
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("--seq", type=_sequence, nargs="+", action="extend", metavar="N", help="these")
    which.add_argument("--all", action="store_true", help="all that are there now")
    which.add_argument(
        "--from-consumer", metavar="NAME", help="those that NAME, or STREAM/NAME, has given up"
    )
    one.add_argument("--to", metavar="SUBJECT", help="to this subject, not to the one they came from")
    one.add_argument("--dry-run", action="store_true", help="tell what would be sent, and send nothing")
    return whole


def _sequence(text: str) -> int:
    """A number of a message."""
    sequence = unsigned(text, _NUMBER_MAX)
    if not sequence:
        raise argparse.ArgumentTypeError(f"{text!r} is no sequence: give a number from 1 on")
    return sequence


def _count(text: str) -> int:
    count = unsigned(text, _NUMBER_MAX)
    if count is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return count
