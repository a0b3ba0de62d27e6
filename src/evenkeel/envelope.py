"""The one envelope for every measured result: bench, lab scenario, and whatever measures later.

`metrics` is flat, dotted name -> number, ours; `baselines` maps each opponent's name to the same
metric names, measured in the same run.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evenkeel import __version__


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement. `detail` holds whatever a reader may want to check (per-run rows)."""

    name: str
    seconds: float
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    seed: int | None = None
    version: str = __version__
    machine: dict[str, str | int] = field(default_factory=lambda: machine())
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False)

    def write(self, path: Path | None) -> None:
        """Write to PATH whole or not at all; None writes nowhere."""
        if path is None:
            return
        partial = path.with_name(path.name + ".partial")
        partial.write_text(self.to_json() + "\n", encoding="utf-8")
        partial.replace(path)


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
    }
