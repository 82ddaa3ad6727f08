"""``shardbroker consumer explain STREAM CONSUMER``: why is nothing, or not more, delivered?

    shardbroker consumer explain STREAM CONSUMER [-s URL] [--json]

Asks the running broker, as a client. Exit code: 0 nothing holds messages back, 1 something does, 2 there is
no answer (no broker, no such consumer). The findings are made in the broker (jetstream/consumer_explain.py);
here they are asked for and shown.
"""

import argparse
import json
import sys

from shardbroker.cli.broker_client import ClientProblem, add_server_option
from shardbroker.cli.consumer_report import report
from shardbroker.cli.explain_client import ask_why

_BLOCKED, _UNANSWERED = 1, 2
#: What NATS allows in no name: it would be another subject, or none.
_BAD_IN_NAMES = frozenset(" \t\r\n.*>/\\")


def consumer(arguments: list[str]) -> int:
    """Run the command; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        answer = ask_why(options.server, options.stream, options.consumer)
    except ClientProblem as error:
        print(f"shardbroker consumer explain: {error}", file=sys.stderr)
        return _UNANSWERED
    except KeyboardInterrupt:
        return _UNANSWERED
    print(json.dumps(answer, indent=2) if options.json else report(answer))
    return _BLOCKED if answer["verdict"] == "blocked" else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="shardbroker consumer", description="Look at a consumer.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="explain")
    explain = commands.add_parser(
        "explain",
        help="why is nothing, or not more, delivered?",
        description="Why is nothing, or not more, delivered by a consumer?",
        epilog="Exit code: 0 nothing holds messages back, 1 something does, 2 no answer.",
    )
    explain.add_argument("stream", metavar="STREAM", type=_name)
    explain.add_argument("consumer", metavar="CONSUMER", type=_name)
    add_server_option(explain)
    explain.add_argument("--json", action="store_true", help="the broker's answer as it is")
    return parser


def _name(text: str) -> str:
    """The name of a stream or consumer."""
    if not text or _BAD_IN_NAMES.intersection(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: none has blanks or any of . * > / \\")
    return text
