"""A short run of the parser's fuzzer. A long one is started by hand: see fuzz_parser.py."""

import pytest

from tests.fuzz import build, fuzz_parser


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The fuzz driver, built for this run (about ten seconds)."""
    return build.build_driver(tmp_path_factory.mktemp("driver"))


def test_short_run(driver):
    operations = fuzz_parser.run(driver, executions=200_000, seed=1)
    assert operations > 200_000, "the inputs are too broken to be useful"


def test_inputs_repeat(driver):
    first, second = (driver.Driver(fuzz_parser.PIECES, fuzz_parser.LETTERS) for _driver in range(2))
    assert [first.generate(seed) for seed in range(100)] == [second.generate(seed) for seed in range(100)]
