"""A Ray cluster on this machine: a head and a second node, small, without a dashboard."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

import evenkeel

TESTS = Path(__file__).parent
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
SMALL = ["--object-store-memory=100000000", "--disable-usage-stats"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Node:
    """One `ray start --block`, in a session of its own, and all that it starts."""

    def __init__(self, log: Path, *options: str, path: Path | None = None) -> None:
        source = path or Path(evenkeel.__file__).parents[1]
        env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
        env["PYTHONPATH"] = f"{source}{os.pathsep}{TESTS}"
        env |= {"RAY_num_prestart_python_workers": "0", "RAY_health_check_period_ms": "500"}
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*RAY, *SMALL, *options], stdout=out, stderr=out, env=env, start_new_session=True
            )
        self._log = log
        self.raylet = self._find_raylet()

    def _find_raylet(self) -> int:
        end_s = time.monotonic() + 40
        while time.monotonic() < end_s and self._process.poll() is None:
            for child in psutil.Process(self._process.pid).children():
                with contextlib.suppress(psutil.Error):
                    if child.name() == "raylet":
                        return child.pid
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"no raylet: {self._log.read_text()}")

    def kill(self) -> None:
        """SIGKILL to all of it, as when the machine loses power."""
        with contextlib.suppress(psutil.Error):
            whole = psutil.Process(self._process.pid)
            for process in [whole, *whole.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
        self._process.wait()


class Cluster:
    def __init__(self, folder: Path, path: Path | None = None, alone: bool = False) -> None:
        self._folder, self._path = folder, path
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.partition(":")[2]
        self.head = Node(
            folder / "head.log",
            "--head",
            f"--port={port}",
            "--node-ip-address=127.0.0.1",
            "--include-dashboard=false",
            path=path,
        )
        self.second = self.head
        if not alone:
            self.add_second()

    def add_second(self) -> None:
        address = ("--address", self.address, "--node-ip-address=127.0.0.1")
        self.second = Node(self._folder / "second.log", *address, path=self._path)

    def stop(self) -> None:
        self.second.kill()
        self.head.kill()
