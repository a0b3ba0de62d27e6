"""`python -m evenkeel.adapters.models.tied PARENT_PID NICE COMMAND...`: dies with its parent.

It becomes COMMAND, at a lower priority, and the kernel kills that when the thread that started it
is gone. Done here and not between fork and exec, where a process of many threads must do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, nice, command = int(argv[0]), int(argv[1]), argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        raise SystemExit(1)
    os.nice(nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory ends, this one goes
    os.execv(command[0], command)  # noqa: S606  our caller chose the command


if __name__ == "__main__":
    main(sys.argv[1:])
