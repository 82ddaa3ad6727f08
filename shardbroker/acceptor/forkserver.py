"""The forkserver of ``multiprocess``, started earlier and tidier than the library does it by itself.

Four things differ from the library's own start, and this is the only file that knows its insides:

- The process is started before ``multiprocess`` is imported here, so that it boots on one core while the
  acceptor imports on the other. The pickler ``dill`` is kept out of both: nothing of ours needs it, and it
  doubles the import time.
- Its listening socket loses its name at once; we go on connecting through /proc/self/fd. The library keeps
  a directory in /tmp that stays behind when the acceptor is killed.
- No resource tracker process: our segments have no names, so there is nothing to track. Its descriptor is
  /dev/null, which takes every message.
- A worker does not import the program that was started. The library does that for functions defined there;
  ours are not, it takes time, and a program without ``if __name__ == "__main__"`` would start a broker in
  every worker.

The forkserver dies with the acceptor (control/forkserver_preload.py) and its children die with it.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator

from shardbroker.control.forkserver_preload import ACCEPTOR_PID
from shardbroker.shm.region import SHARED_MEMORY_DIRECTORY

_PRELOAD = ("shardbroker.control.forkserver_preload", "shardbroker.workers.process")
#: With JetStream: loaded once, here, and not by each worker.
_PRELOAD_JETSTREAM = ("shardbroker.workers.jetstream", "shardbroker.streamwriter.process")

_PROGRAM = """\
import sys
sys.path[:] = {path!r}
sys.modules["dill"] = None
from multiprocess.forkserver import main
del sys.modules["dill"]
main({listener}, {alive}, {preload!r})
"""


class Forkserver:
    """Starts at construction; ``start_worker`` makes processes, and a new forkserver if the old one died.

    ``jetstream``: workers will need it. A wrong guess costs time and nothing else.
    """

    def __init__(self, *, jetstream: bool = False) -> None:
        self._preload = [*_PRELOAD, *(_PRELOAD_JETSTREAM if jetstream else ())]
        self._pid = 0
        self._address_fd = -1
        self._alive_fd = -1
        self._context = None
        self._launch()

    @property
    def pid(self) -> int:
        return self._pid

    def start_worker(self, target, arguments: tuple, name: str):
        """Run ``target(*arguments)`` in a new process; waits until it was forked.

        ``target`` is a function at module level. Gives the Process. Raises OSError or EOFError when the
        forkserver died meanwhile: the next call starts another.
        """
        self._ensure()
        process = self._library().Process(target=target, args=arguments, name=name, daemon=True)
        with _without_main():
            process.start()
        return process

    def close(self) -> None:
        """End the forkserver, and with it every worker that is still there."""
        if self._alive_fd >= 0:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._alive_fd)
            os.close(self._address_fd)
            self._alive_fd = self._address_fd = -1
            self._register()

    def _launch(self) -> None:
        # A directory of our own, because the socket must never be open to other users, not for a moment.
        # In /dev/shm, which is needed anyway: /tmp may be read-only, and its path is not always short.
        directory = f"{SHARED_MEMORY_DIRECTORY}/shardbroker-{os.getpid()}-{os.urandom(8).hex()}"
        path = f"{directory}/forkserver"
        os.mkdir(directory, 0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            self._address_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            os.unlink(path)
            os.rmdir(directory)
            listener.listen()
            alive_read, self._alive_fd = os.pipe()
            program = _PROGRAM.format(
                path=sys.path, listener=listener.fileno(), alive=alive_read, preload=self._preload
            )
            os.set_inheritable(listener.fileno(), True)
            os.set_inheritable(alive_read, True)
            environment = {**os.environ, ACCEPTOR_PID: str(os.getpid())}
            try:
                command = [sys.executable, "-P", "-c", program]
                self._pid = os.posix_spawn(sys.executable, command, environment)
            finally:
                os.close(alive_read)

    def _ensure(self) -> None:
        """Start another forkserver if this one died."""
        if os.waitpid(self._pid, os.WNOHANG)[0]:
            os.close(self._alive_fd)
            os.close(self._address_fd)
            self._launch()
            self._register()

    def _library(self):
        """The library's context, imported at first use and told of the process we started."""
        if self._context is None:
            sys.modules["dill"] = None  # type: ignore[assignment]
            try:
                import multiprocess.forkserver
                import multiprocess.popen_forkserver
                import multiprocess.resource_tracker
            finally:
                del sys.modules["dill"]
            tracker = multiprocess.resource_tracker._resource_tracker
            tracker._fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            self._context = multiprocess.get_context("forkserver")
            self._register()
        return self._context

    def _register(self) -> None:
        if self._context is None:
            return
        from multiprocess.forkserver import _forkserver

        running = self._alive_fd >= 0
        _forkserver._forkserver_address = f"/proc/self/fd/{self._address_fd}" if running else None
        _forkserver._forkserver_alive_fd = self._alive_fd if running else None
        _forkserver._forkserver_pid = self._pid if running else None

    def prepare(self) -> None:
        """Import the library now, while the forkserver boots."""
        self._library()


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Processes started in here are not told of this process's main module."""
    from multiprocess import spawn

    prepare = spawn.get_preparation_data

    def prepare_without_main(name: str) -> dict:
        return {key: value for key, value in prepare(name).items() if not key.startswith("init_main_")}

    spawn.get_preparation_data = prepare_without_main
    try:
        yield
    finally:
        spawn.get_preparation_data = prepare
