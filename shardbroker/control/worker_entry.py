"""The functions new processes begin with, in a module that the acceptor can import cheaply.

Processes are told their main by its name (pickle). The acceptor may not import workers/, whose compiled
modules it never needs; the forkserver has them loaded already when a worker is forked from it.
"""

import importlib
import socket

WORKER_MODULE = "shardbroker.workers.process"
WRITER_MODULE = "shardbroker.streamwriter.process"


def run_worker(channel: socket.socket, worker_index: int, options: object) -> None:
    """Run the worker's main; ``channel`` is its end of the control connection."""
    importlib.import_module(WORKER_MODULE).main(channel, worker_index, options)


def run_writer(channel: socket.socket, options: object) -> None:
    """Run the stream-writer's main; ``channel`` is its end of the control connection."""
    importlib.import_module(WRITER_MODULE).main(channel, options)
