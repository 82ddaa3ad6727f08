"""A short run of the fuzzer of the store's readers. A long one is started by hand: see fuzz_log.py."""

from tests.fuzz import fuzz_log


def test_short_run(tmp_path):
    with_losses = fuzz_log.run(tmp_path, executions=1000, seed=1)
    assert with_losses > 300, "the changes are too harmless to be useful"
