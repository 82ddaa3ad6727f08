"""``python -m tests.acceptor.stub_broker FLAGS``: the whole acceptor with stub workers."""

import sys

from shardbroker.acceptor import process
from shardbroker.cli.main import main
from tests.acceptor import stub_worker

if __name__ == "__main__":
    process.run_worker = stub_worker.main
    sys.exit(main())
