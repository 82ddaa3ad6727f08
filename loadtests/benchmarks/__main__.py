"""Builds the loops and runs the benchmarks that are named, or all."""

import importlib
import sys
from pathlib import Path

from loadtests.benchmarks.build import load_hot_loops

names = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(names)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    loops = load_hot_loops()
    for name in wanted or names:
        importlib.import_module(f"loadtests.benchmarks.bench_{name}").run(loops)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
