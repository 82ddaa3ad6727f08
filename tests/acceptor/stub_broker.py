"""``python -m tests.acceptor.stub_broker FLAGS``: the whole acceptor with stub workers.

``STUB_REGIONS_FAIL=3,4`` in the environment: the third and fourth worker's regions, counted from the start,
find /dev/shm full.
"""

import errno
import os
import sys

from shardbroker.acceptor import process
from shardbroker.cli.main import main
from tests.acceptor import stub_worker


def fill_shared_memory(failures: set[int]) -> None:
    """Let reserving memory fail at these of the workers' regions; the first reservation is the board's."""
    reserve = os.posix_fallocate
    calls = 0

    def reserve_or_fail(*arguments: int) -> None:
        nonlocal calls
        calls += 1
        if calls - 1 in failures:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(*arguments)

    os.posix_fallocate = reserve_or_fail


if __name__ == "__main__":
    process.run_worker = stub_worker.main
    fill_shared_memory(
        {int(number) for number in os.environ.get("STUB_REGIONS_FAIL", "").split(",") if number}
    )
    sys.exit(main())
