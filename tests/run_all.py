"""Run all tests in the right company, and close with one line that says how it went.

Most tests run on two processes at once. Those of ``tests/system`` kill, measure and fill up, so they run
alone, afterwards. With arguments, pytest is called once with just these: ``run_all.py tests/shm -k ring``.
The exit code is 0 only if every test that ran has passed, and some did run.
"""

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Name, and the arguments of pytest.
PARTS = [
    ("together", ["--numprocesses", "2", "tests", "--ignore", "tests/system"]),
    ("alone", ["tests/system"]),
]
NO_TESTS_COLLECTED = 5


def counts_of(report: Path) -> dict[str, int]:
    """Passed, failed and skipped tests of one JUnit report."""
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            for key in totals:
                totals[key] += int(suite.get(key, 0))
    failed = totals["failures"] + totals["errors"]
    return {
        "passed": totals["tests"] - failed - totals["skipped"],
        "failed": failed,
        "skipped": totals["skipped"],
    }


def run_parts() -> int:
    """Both parts, whatever the first one said; the exit code."""
    started = time.monotonic()
    total = {"passed": 0, "failed": 0, "skipped": 0}
    unclean = []
    with tempfile.TemporaryDirectory() as directory:
        for name, arguments in PARTS:
            report = Path(directory) / f"{name}.xml"
            # Native: tracebacks of pytest parse sources, and Python 3.11 may fail in that and end all.
            command = [sys.executable, "-m", "pytest", "--tb=native", *arguments, "--junit-xml", str(report)]
            print(f"--- tests that run {name}: pytest {' '.join(arguments)}", flush=True)
            code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
            if code not in (0, NO_TESTS_COLLECTED):
                unclean.append(name)
            for key, count in counts_of(report).items():
                total[key] += count
    print(f"--- all tests took {time.monotonic() - started:.0f} s", flush=True)
    if unclean and not total["failed"]:
        print(f"--- pytest itself failed in the part(s): {', '.join(unclean)}")
        total["failed"] += len(unclean)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped", flush=True)
    return 0 if total["passed"] and not total["failed"] else 1


def main(arguments: list[str]) -> int:
    """All tests, or those that are asked for."""
    if not arguments:
        return run_parts()
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
