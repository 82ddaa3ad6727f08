"""First module the forkserver imports: from here on it dies with the acceptor, and by no other signal.

A signal for the whole process group or control group (a terminal, `timeout`, systemd) is the acceptor's to
answer; if it ended the forkserver, the workers would die with it before they could say goodbye.

The acceptor's pid comes by environment, because a preload module is only imported, never called.
"""

import os
import signal

#: Name of the environment variable with the pid of the acceptor.
ACCEPTOR_PID = "SHARDBROKER_ACCEPTOR_PID"

if ACCEPTOR_PID in os.environ:
    # Not above: the acceptor imports this module for the name alone, and ctypes is slow to load.
    from shardbroker.control.parent_death import die_with_parent

    die_with_parent(int(os.environ[ACCEPTOR_PID]))
    for _name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, _name), signal.SIG_IGN)
