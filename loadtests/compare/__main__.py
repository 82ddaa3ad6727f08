"""Entry: measure, write results (JSON, Markdown, PNG), print the table."""

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from loadtests.compare.arguments import describe_cases, parse_arguments
from loadtests.compare.progress import ProgressBar
from loadtests.compare.report import goals_reached, render
from loadtests.compare.run import pairs_of, run_cases


def main(arguments: list[str]) -> int:
    """Exit code: 0, or 1 with --check and a goal missed."""
    options = parse_arguments(arguments)
    if options.list:
        print(describe_cases(options.chosen))
        return 0
    if options.report:
        results = json.loads(options.report.read_text())
        stem = options.report.with_suffix("")
    else:
        progress = ProgressBar(2 * sum(pairs_of(case, options.pairs) for case in options.chosen))
        results = run_cases(
            options.chosen,
            options.servers,
            pairs=options.pairs,
            seconds=options.seconds,
            command_line=["python", "-m", "loadtests.compare", *map(shlex.quote, arguments)],
            progress=progress,
            store_root=options.store or options.out / "store",
            quick=options.quick,
        )
        progress.finish()
        stem = _out_stem(options.out, options.name, results)
        stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    text = render(results)
    stem.with_suffix(".md").write_text(text)
    print(text)
    print(f"Written: {stem}.json, .md", file=sys.stderr)
    if not options.no_plots:
        _plot(results, stem)
    return 1 if options.check and not goals_reached(results) else 0


def _out_stem(out: Path, name: str, results: dict[str, Any]) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    if not name:
        when = time.strftime("%Y%m%d-%H%M%S", time.localtime(results["start_s"]))
        name = f"{when}-{results['commit']}"
    return out / name


def _plot(results: dict[str, Any], stem: Path) -> None:
    try:
        from loadtests.compare.plots import write_plots

        for path in write_plots(results, stem):
            print(f"Written: {path}", file=sys.stderr)
    except ImportError:
        print("No plots: matplotlib is not installed (pip install shardbroker[load])", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
