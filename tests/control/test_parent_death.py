"""A process that called die_with_parent is gone as soon as its parent is, or at once if it already was."""

import os
import signal
import subprocess
import sys
import time

#: Parent: starts the child, tells its pid, then is killed. Child: ties itself to the parent, then sleeps.
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=sys.stdout)
time.sleep(60)
"""
CHILD = """
import os, sys, time
from shardbroker.control.parent_death import die_with_parent
die_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_child_dies_with_a_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE) as parent:
        child_pid = int(parent.stdout.readline())
        child = os.pidfd_open(child_pid)
        parent.kill()
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{child_pid}/exe") and time.monotonic() < deadline:
            time.sleep(0.01)
        os.close(child)
        assert not os.path.exists(f"/proc/{child_pid}/exe")
    assert parent.returncode == -signal.SIGKILL


def test_wrong_parent_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, "1"], capture_output=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stdout == b""
