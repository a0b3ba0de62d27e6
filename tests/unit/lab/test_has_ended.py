"""When a process of a lab host counts as gone: not before its sockets are."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from evenkeel.lab.cgroups import has_ended

LEADER_LEAVES = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("up", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def test_a_running_process_has_not_ended_and_a_reaped_one_has() -> None:
    process = subprocess.Popen(["sleep", "60"])
    assert not has_ended(process.pid)
    process.kill()
    process.wait()
    assert has_ended(process.pid)


def test_a_zombie_has_ended() -> None:
    process = subprocess.Popen(["true"])
    while _state(process.pid) != "Z":
        time.sleep(0.01)
    assert has_ended(process.pid)
    process.wait()


def test_a_dead_first_thread_does_not_end_a_process() -> None:
    command = [sys.executable, "-c", LEADER_LEAVES]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while _state(process.pid) != "Z":
            time.sleep(0.01)
        assert not has_ended(process.pid)
        process.send_signal(signal.SIGKILL)
    assert has_ended(process.pid)
