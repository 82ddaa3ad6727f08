"""The command line of `python -m loadtests.compare`."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from loadtests.compare.case import Case, full_scale, quick_scale
from loadtests.compare.groups import choose
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
cases_default = "core"
quick_pairs = 1
quick_seconds = 0.2


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parsed and checked: `chosen` holds cases, `servers` the two sides."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.compare",
        description="Measure shardbroker and nats-server in interleaved pairs on the same work.",
    )
    parser.add_argument(
        "--cases",
        default=cases_default,
        help="groups (core, jetstream, consumers, all) and cases, with commas, NAME* too (%(default)s)",
    )
    parser.add_argument("--pairs", type=_positive(int), help=f"a case ({pairs_default})")
    parser.add_argument("--seconds", type=_positive(float), help=f"length of a sample ({seconds_default:g})")
    _add_scale(parser)
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
    small = options.quick
    options.pairs = options.pairs or (quick_pairs if small else pairs_default)
    options.seconds = options.seconds or (quick_seconds if small else seconds_default)
    given = {name: value for name in asdict(full_scale) if (value := getattr(options, name)) is not None}
    options.scale = replace(quick_scale if small else full_scale, **given)
    if len(options.server) > 2:
        parser.error("--server: at most two")
    try:
        options.chosen = choose(options.cases, options.scale)
        options.servers = {} if options.report or options.list else servers_of(options)
    except (ValueError, ServerError) as error:
        parser.error(str(error))
    return options


def _add_scale(parser: argparse.ArgumentParser) -> None:
    """What concerns cases with streams only."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"small stores, {quick_pairs} pair of {quick_seconds:g} s: shows that all runs, proves nothing",
    )
    parser.add_argument(
        "--store",
        type=Path,
        help="where streams are stored: on the disk that is to be measured (store/ in --out)",
    )
    large = parser.add_argument_group("size of the large cases with streams")
    for name, value in asdict(full_scale).items():
        large.add_argument(f"--{name.replace('_', '-')}", type=_positive(type(value)), help=f"({value:,})")


def servers_of(options: argparse.Namespace) -> dict[str, ServerSpec]:
    """Both sides, as the command line wants them."""
    given = [parse_spec(text) for text in options.server]
    return {
        "ours": given[0] if given else shardbroker_spec(options.workers),
        "peer": given[1] if len(given) == 2 else nats_server_spec(),
    }


def describe_cases(chosen: list[Case]) -> str:
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
