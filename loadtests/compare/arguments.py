"""The command line of `python -m loadtests.compare`."""

import argparse
from pathlib import Path

from loadtests.compare.cases import Case, cases, choose
from loadtests.servers import (
    ServerError,
    ServerSpec,
    nats_server_spec,
    parse_spec,
    shardbroker_spec,
)

pairs_default = 5
seconds_default = 1.0
out_default = Path("loadtests/out")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parsed and checked: `chosen` holds cases, `servers` the two sides."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.compare",
        description="Measure shardbroker and nats-server in interleaved pairs on the same work.",
    )
    parser.add_argument("--cases", default="all", help="all, or names with commas, NAME* too (all)")
    parser.add_argument("--pairs", type=_positive(int), default=pairs_default, help="a case (%(default)s)")
    parser.add_argument(
        "--seconds", type=_positive(float), default=seconds_default, help="length of a sample (%(default)s)"
    )
    parser.add_argument("--workers", default="default", help="workers of shardbroker: default, or a number")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="measure this instead of shardbroker; given twice, the second replaces nats-server",
    )
    parser.add_argument("--out", type=Path, default=out_default, help="directory for results (%(default)s)")
    parser.add_argument("--name", default="", help="file name of the results (default: date and commit)")
    parser.add_argument("--no-plots", action="store_true", help="write no PNG (needs no matplotlib)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is not reached")
    parser.add_argument("--report", type=Path, metavar="JSON", help="measure nothing: show this results file")
    parser.add_argument("--list", action="store_true", help="show the cases and their goals, and end")
    options = parser.parse_args(arguments)
    if options.workers != "default" and not options.workers.isdigit():
        parser.error("--workers: a number, or default")
    if len(options.server) > 2:
        parser.error("--server: at most two")
    try:
        options.chosen = choose(options.cases)
        options.servers = {} if options.report or options.list else servers_of(options)
    except (ValueError, ServerError) as error:
        parser.error(str(error))
    return options


def servers_of(options: argparse.Namespace) -> dict[str, ServerSpec]:
    """Both sides, as the command line wants them."""
    given = [parse_spec(text) for text in options.server]
    return {
        "ours": given[0] if given else shardbroker_spec(options.workers),
        "peer": given[1] if len(given) == 2 else nats_server_spec(),
    }


def describe_cases(chosen: list[Case] | tuple[Case, ...] = cases) -> str:
    """One line a case for --list."""
    width = max(len(case.name) for case in chosen)
    lines = []
    for case in chosen:
        goals = ", ".join(f"{goal.figure} {goal}" for goal in case.goals if goal.has_bound)
        lines.append(f"{case.name.ljust(width)}  {case.title}" + (f"  [{goals}]" if goals else ""))
    return "\n".join(lines)


def _positive(kind: type):
    def convert(text: str):
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError("must be greater than 0")
        return value

    return convert
