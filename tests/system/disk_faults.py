"""Faults of the disk, made from outside of the broker: small and vanishing disks, failing calls, power loss.

What needs root (mounts) or ptrace says so with a reason that pytest shows.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker_process import REPOSITORY

#: System calls by which the stream-writer changes the store.
STORAGE_CALLS = (
    "pwritev,pwrite64,fdatasync,fsync,openat,rename,renameat,renameat2,unlink,unlinkat,fallocate,mkdir,"
    "mkdirat,rmdir,ftruncate"
)
#: Preloaded into all processes: `SHIM=nosync` makes fdatasync do nothing, `SHIM=short` makes pwritev write at
#: most 1000 bytes at a time.
_SHIM_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int is(const char *what) {
    const char *shim = getenv("SHIM");
    return shim && strcmp(shim, what) == 0;
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    return is("nosync") ? 0 : real(fd);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    ssize_t (*real)(int, const struct iovec *, int, off_t) = dlsym(RTLD_NEXT, "pwritev");
    struct iovec first;
    if (!is("short") || count == 0)
        return real(fd, parts, count, offset);
    first = parts[0];
    if (first.iov_len > 1000)
        first.iov_len = 1000;
    return real(fd, &first, 1, offset);
}
"""


@contextmanager
def preloaded(directory: Path, shim: str) -> Iterator[None]:
    """Brokers started in this block have ``shim`` ("nosync", "short") between them and the disk."""
    source, library = directory / "shim.c", directory / "shim.so"
    source.write_text(_SHIM_SOURCE)
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to build what is preloaded")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    os.environ |= {"LD_PRELOAD": str(library), "SHIM": shim}
    try:
        yield
    finally:
        del os.environ["LD_PRELOAD"], os.environ["SHIM"]


@contextmanager
def mounted(point: Path, *arguments: str) -> Iterator[Path]:
    """``mount ARGUMENTS POINT``; skips the test where that is denied."""
    point.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, point], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is denied here, so this fault was NOT tested: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


@contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes in memory."""
    with mounted(directory / "small", "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as point:
        yield point


def new_image(path: Path, size: int) -> Path:
    """An ext4 file system in a file."""
    with path.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0", path], check=True)
    return path


def copy_image(source: Path, target: Path) -> Path:
    """What the block device holds at this moment: the page cache of the mounted file system is not in it."""
    subprocess.run(["cp", "--sparse=always", source, target], check=True)
    return target


class Injected:
    """strace on one process, with ``inject`` expressions; leaving the block lets the process go on without.

    ``log``: the traced calls, once it ended.
    """

    def __init__(self, pid: int, directory: Path, *inject: str, calls: str = STORAGE_CALLS):
        self.output = directory / f"strace-{pid}"
        self._pid = pid
        command = ["strace", "-f", "-p", str(pid), "-o", str(self.output), "-e", f"trace={calls}"]
        for expression in inject:
            command += ["-e", f"inject={expression}"]
        self._command = command
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Injected":
        if shutil.which("strace") is None:
            pytest.skip("no strace, so this fault was NOT tested")
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        line = self._process.stderr.readline()
        if "attached" not in line:
            self._process.wait()
            self._process.stderr.close()
            assert "not permitted" in line, line
            pytest.skip(f"tracing is denied here, so this fault was NOT tested: {line.strip()}")
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        self._process.stderr.close()

    @property
    def log(self) -> list[str]:
        return self.output.read_text(errors="replace").splitlines()


def edited_copy(directory: Path, name: str, old: str, new: str) -> list[str]:
    """The command of a broker whose source file ``name`` has ``new`` for ``old``: a planted bug."""
    shutil.copytree(
        REPOSITORY / "shardbroker", directory / "shardbroker", ignore=shutil.ignore_patterns("*.c", "*.pyx")
    )
    path = directory / "shardbroker" / name
    text = path.read_text()
    assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
    start = (
        f"import sys, runpy; sys.path.insert(0, {str(directory)!r});"
        " runpy.run_module('shardbroker', run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", start]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process stands still in this block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
