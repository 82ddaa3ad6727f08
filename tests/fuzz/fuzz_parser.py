"""Fuzzes the parser: one feed against feeds of random pieces, compiled against interpreted.

    python -m tests.fuzz.fuzz_parser --executions 1000000
    python -m tests.fuzz.fuzz_parser --executions 20000000 --sanitize     with AddressSanitizer and UBSan

The invariant: whatever the bytes, the records, the error and the unconsumed bytes depend neither on how the
stream is cut, nor on a sink that parks and stops, nor on the mode; no byte outside the given range is read;
and every record keeps the promises of operation.pxd. ``_driver.pyx`` says how one execution checks that.

Inputs are pieces of ``tests/protocol/wire_cases.py`` put together and changed at random. A failure prints the
seed; ``--seed S --executions 1`` repeats it. It then belongs into ``wire_cases.py``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import build
from tests.protocol import wire_cases
from tests.protocol.feeding import feed_all, single_bytes
from tests.protocol.modes import load_compiled, load_interpreted

BATCH_SIZE = 100_000  # executions between two lines of progress
SAMPLES_PER_BATCH = 20  # inputs that the interpreted parser reads as well

PIECES = [
    *wire_cases.ALL,
    *wire_cases.ORDINARY * 10,  # streams that go on are worth more than those that end at once
    *wire_cases.UNUSUAL,
    b"PUB ", b"HPUB ", b"SUB ", b"UNSUB ", b"CONNECT ", b"PING", b"\r\n", b"\n", b" ", b"\t", b"0", b"12",
]  # fmt: skip
# What a changed byte changes to, every other time.
LETTERS = b" \t\r\n0123456789-+PUBHSNIGOKERCTDpub.*>{}\"'\x00\xff"


def run(driver_module, executions: int, seed: int, report=lambda line: None) -> int:
    """Execute seeds from ``seed`` on; returns the number of operations that the inputs held."""
    driver = driver_module.Driver(PIECES, LETTERS)
    operations, done, start = 0, 0, time.perf_counter()
    while done < executions:
        count = min(BATCH_SIZE, executions - done)
        operations += driver.run(seed + done, count)
        for sample in range(seed + done, seed + done + count, max(1, count // SAMPLES_PER_BATCH)):
            compare_modes(driver.generate(sample), sample)
        done += count
        if done % (10 * BATCH_SIZE) == 0 or done == executions:
            rate = done / (time.perf_counter() - start)
            report(f"{done} executions, {operations} operations, {rate:.0f} executions/s")
    return operations


def compare_modes(data: bytes, seed: int) -> None:
    """The compiled and the interpreted parser, whole and byte by byte."""
    outcomes = [
        feed_all(modules, parts)
        for modules in (load_compiled(), load_interpreted())
        for parts in ([data], single_bytes(data))
    ]
    assert all(outcome == outcomes[0] for outcome in outcomes), f"seed {seed}: {data!r}: {outcomes}"


def main() -> int:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--executions", type=int, default=1_000_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--sanitize", action="store_true", help="build and run with AddressSanitizer")
    arguments.add_argument("--built", type=Path, help=argparse.SUPPRESS)  # the child of --sanitize
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-parser-") as name:
        folder = Path(name)
        if options.sanitize:
            build.build_sanitized(folder)
            command = [sys.executable, "-m", "tests.fuzz.fuzz_parser", "--built", name]
            command += ["--executions", str(options.executions), "--seed", str(options.seed)]
            environment = build.sanitizer_environment(folder)
            return subprocess.run(command, env=environment, cwd=folder, check=False).returncode
        driver = build.load_driver(options.built) if options.built else build.build_driver(folder)
        run(driver, options.executions, options.seed, report=lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
