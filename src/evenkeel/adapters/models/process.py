"""`Trainer` as a child process: `evenkeel train`, which dies with us and cannot take us along."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from evenkeel.decoding import decoder
from evenkeel.domain.errors import TrainingUnavailable
from evenkeel.domain.model import TrainingEnd
from evenkeel.domain.resources import Resource

NICE: Final = 10
NEEDED: Final = ("torch", "onnx")
STOP_S: Final = 5.0
EVENKEEL: Final = (sys.executable, "-m", "evenkeel")


class _Scores(msgspec.Struct):
    wql: float


class _Report(msgspec.Struct):
    """What `evenkeel train --json` says."""

    model: str
    champion: str
    won: bool
    verdict: str
    scores: _Scores
    champion_scores: _Scores


_report_decoder = decoder(_Report)


class ProcessTrainer:
    """See `evenkeel.ports_history.Trainer`. `start` from a thread that lives as long as we do.

    Parameters
    ----------
    folder : `RESOURCE.log` has what the latest training of a resource said, `RESOURCE.json` its
        result; made if it is not there
    options : of `evenkeel train`, beside the resource
    timeout_s : a training that takes longer is killed
    needed : Python packages without which training is not begun
    command : what runs; to be replaced in tests
    """

    def __init__(
        self,
        folder: Path,
        options: Sequence[str],
        timeout_s: float,
        needed: Sequence[str] = NEEDED,
        command: Sequence[str] = EVENKEEL,
    ) -> None:
        self._folder = folder
        self._options = tuple(options)
        self._timeout_s = timeout_s
        self._needed = tuple(needed)
        self._command = tuple(command)
        self._child: subprocess.Popen[bytes] | None = None
        self._resource = Resource.CPU
        self._ends_by_s = 0.0

    def start(self, resource: Resource) -> None:
        if self._child is not None:
            raise RuntimeError("a training runs already")
        lacking = [name for name in self._needed if importlib.util.find_spec(name) is None]
        if lacking:
            raise TrainingUnavailable(f"training needs the Python package {', '.join(lacking)}")
        tied = (sys.executable, "-m", "evenkeel.adapters.models.tied", str(os.getpid()), str(NICE))
        train = ("train", "--resource", resource.value, "--json", *self._options)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            log, result = self._file(resource, "log"), self._file(resource, "json")
            with log.open("wb") as stderr, result.open("wb") as stdout:
                self._child = subprocess.Popen(
                    (*tied, *self._command, *train),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
        except OSError as error:
            raise TrainingUnavailable(
                f"training could not be started: {error}", hint="Is the disk full?"
            ) from error
        self._resource = resource
        self._ends_by_s = time.monotonic() + self._timeout_s

    def poll(self) -> TrainingEnd | None:
        if self._child is None:
            return None
        code = self._child.poll()
        if code is None and time.monotonic() < self._ends_by_s:
            return None
        self.stop()
        if code is None:
            failure = f"it took longer than {self._timeout_s:g} s and was ended"
            return TrainingEnd(self._resource, failure=failure)
        if code:
            return TrainingEnd(self._resource, failure=self._last_words(code))
        return self._result()

    def stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # its workers too; the group is the child's own
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_S)

    def _file(self, resource: Resource, kind: str) -> Path:
        return self._folder / f"{resource.value}.{kind}"

    def _result(self) -> TrainingEnd:
        try:
            told = _report_decoder.decode(self._file(self._resource, "json").read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            return TrainingEnd(self._resource, failure=f"its result cannot be read: {error}")
        return TrainingEnd(
            self._resource,
            model=told.model,
            champion=told.champion,
            won=told.won,
            verdict=told.verdict,
            wql=told.scores.wql,
            champion_wql=told.champion_scores.wql,
        )

    def _last_words(self, code: int) -> str:
        """The error it printed, else the last line of its log, else how it died."""
        try:
            said = self._file(self._resource, "log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            said = ""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error ")]
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{(errors or lines or ['it said nothing'])[-1]} ({how})"
