"""`Workers` of `forecast.workers` on a Ray cluster; for backtests, training and fleet forecasts."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import evenkeel
from evenkeel.adapters.cluster.tasks import Answer, Inside, dump
from evenkeel.domain.errors import ClusterLost, ClusterUnavailable, ConfigInvalid

T = TypeVar("T")
R = TypeVar("R")

CONNECT_S: Final = 30.0


class RayWorkers:
    """Of the cluster at `address`, HOST:PORT or `auto`; this machine must be a node of it.

    A context manager. Raises ConfigInvalid (Ray is not installed) and ClusterUnavailable; `map`
    raises those, ClusterLost, ClusterDiffers, and what the work itself raises.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._driver: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None

    def __enter__(self) -> RayWorkers:
        self._connected()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Inside], tuple[()]]:
        return Inside, ()

    def map(
        self,
        do: Callable[[T, Callable[..., None]], R],
        items: Iterable[T],
        report: Callable[..., None] = lambda *_: None,
    ) -> Iterator[R]:
        line, source, ended = self._connected(), iter(items), False
        try:
            self._tell(line, dump(do))
            while True:
                kind, payload = self._heard(line)
                if kind == "more":
                    self._tell(line, next((dump(item) for item in source), b""))
                elif kind == "report":
                    report(*pickle.loads(payload))  # noqa: S301  # from our own code
                elif kind == "end":
                    ended = True
                    return
                else:
                    yield Answer(kind, payload).value()
        finally:
            if not ended:
                self.close()

    def close(self) -> None:
        """End the driver; Ray ends its tasks."""
        if self._line is not None:
            self._line.close()
        if self._driver is not None:
            self._driver.kill()
            self._driver.wait()
        self._line = self._driver = None

    def _tell(self, line: Connection, blob: bytes) -> None:
        try:
            line.send_bytes(blob)
        except OSError as error:
            raise self._lost() from error

    def _heard(self, line: Connection) -> Any:
        try:
            return line.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def _lost(self) -> ClusterLost:
        return ClusterLost(f"the Ray cluster at {self.address} is gone")

    def _connected(self) -> Connection:
        if self._line is not None:
            return self._line
        if find_spec("ray") is None:
            raise ConfigInvalid(
                "work on a cluster needs the Python package ray",
                hint="pip install 'evenkeel[ray]', here and on every node.",
            )
        self._line, theirs = Pipe()
        root = str(Path(evenkeel.__file__).parent.parent)
        search = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "evenkeel.adapters.cluster.driver", str(theirs.fileno())]
        self._driver = subprocess.Popen(
            [*command, self.address],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
            env={**os.environ, "PYTHONPATH": search, "RAY_USAGE_STATS_ENABLED": "0"},
        )
        theirs.close()
        said: Any = ("unavailable", f"no answer within {CONNECT_S:g} s".encode())
        try:
            if self._line.poll(CONNECT_S):
                said = self._line.recv()
        except (EOFError, ConnectionError):
            said = ("unavailable", b"Ray gave up")
        if said[0] != "ready":
            self.close()
            raise ClusterUnavailable(
                f"no Ray cluster can be used at {self.address}: {said[1].decode()}"
            )
        return self._line
