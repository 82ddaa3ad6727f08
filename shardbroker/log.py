"""Log lines in nats-server's format: ``[pid] 2026/11/23 06:33:01.021027 [INF] text``.

Every process of the broker writes its own lines, one ``write`` a line, to the inherited stderr or to the
log file opened for appending, so lines of several processes never mix. ``logging`` was not taken: it costs
15 ms of start-up, takes locks and may block.

A full pipe must never block the broker. stderr is an open file shared with whoever started us, so setting
O_NONBLOCK on it would change it for them too; instead a pipe or terminal is opened anew through /proc,
which gives a description of our own. A line that does not fit now is dropped and counted, and the count is
told with the next line that gets through.
"""

import os
import socket
import stat
import time

#: A write of at most this many bytes to a pipe is atomic (PIPE_BUF on Linux), so long lines are cut.
LINE_SIZE_MAX = 4096

STDERR = 2


class Log:
    """One process's way to the log. Methods take the finished text; they never raise and never block.

    ``path`` is the log file ("" for stderr), ``logtime`` puts the time into each line, ``utc`` in UTC.
    """

    def __init__(
        self,
        *,
        path: str = "",
        debug: bool = False,
        trace: bool = False,
        logtime: bool = True,
        utc: bool = False,
    ):
        self.path = path
        self.debug_enabled = debug
        self.trace_enabled = trace
        self.dropped = 0  # lines since start that could not be written
        self._untold = 0  # of these, not yet mentioned in a line
        self._logtime = logtime
        self._clock = time.gmtime if utc else time.localtime
        self._second = -1
        self._stamp = ""
        self._socket: socket.socket | None = None
        self._fd = self._open()

    def info(self, text: str) -> None:
        self._line("INF", text)

    def debug(self, text: str) -> None:
        if self.debug_enabled:
            self._line("DBG", text)

    def trace(self, text: str) -> None:
        if self.trace_enabled:
            self._line("TRC", text)

    def warn(self, text: str) -> None:
        self._line("WRN", text)

    def error(self, text: str) -> None:
        self._line("ERR", text)

    def fatal(self, text: str) -> None:
        """Only the line: leaving is the caller's decision."""
        self._line("FTL", text)

    def reopen(self) -> bool:
        """Open the log file again after it was rotated away; False when there is no file."""
        if not self.path:
            return False
        previous = self._fd
        try:
            self._fd = self._open()
        except OSError as error:
            self.error(f"Unable to re-open the log file: {error}")
            return True
        os.close(previous)
        return True

    def close(self) -> None:
        """Give the descriptor back; nothing may be logged afterwards."""
        if self._fd > STDERR:
            os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        """The descriptor to write to. Raises OSError for a log file that cannot be opened."""
        if self.path:
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            mode = os.fstat(STDERR).st_mode
        except OSError:
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)  # started with stderr closed
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(STDERR))
        elif not stat.S_ISREG(mode):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                return os.open(f"/proc/self/fd/{STDERR}", flags)
            except OSError:
                return STDERR  # no /proc, or a terminal of another user: better a blocking log than none
        return STDERR

    def _line(self, level: str, text: str) -> None:
        if self._untold and self._write(
            "WRN", f"{self._untold} log lines were dropped: the log could not take them"
        ):
            self._untold = 0
        if self._untold or not self._write(level, text):
            self.dropped += 1
            self._untold += 1

    def _write(self, level: str, text: str) -> bool:
        stamp = self._now() if self._logtime else ""
        line = f"[{os.getpid()}] {stamp}[{level}] {text}\n".encode(errors="replace")
        if len(line) > LINE_SIZE_MAX:
            line = line[: LINE_SIZE_MAX - 4] + b"...\n"
        try:
            if self._socket is not None:
                self._socket.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            else:
                os.write(self._fd, line)
        except OSError:  # full pipe, full disk, reader gone: the broker goes on
            return False
        return True

    def _now(self) -> str:
        """``2026/11/23 06:33:01.021027 ``, the part down to the second kept from line to line."""
        now_ns = time.time_ns()
        second = now_ns // 1_000_000_000
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y/%m/%d %H:%M:%S", self._clock(second))
        return f"{self._stamp}.{now_ns // 1000 % 1_000_000:06d} "
