"""A process that may not outlive its parent.

PR_SET_PDEATHSIG makes the kernel send SIGKILL when the parent ends, however it ends. It says nothing when
the parent ended before the call, so the parent is looked at once more afterwards. The forkserver calls
this in its preload (forkserver_preload.py), every worker in its main: the death of the acceptor ends the
forkserver, whose death ends the workers.
"""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel for SIGKILL at the parent's end; leave at once if ``parent_pid`` is no parent now."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        os._exit(1)
