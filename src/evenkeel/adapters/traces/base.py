"""What the readers of traces share: finding the files, and putting samples on one grid.

Rules for bad samples, the same in every format; each is counted in `Reading.flaws`:

- `nan`, `negative`, `absurd` (infinite or above 1e12) values are not known (NaN);
- `off`: the VM had no cores, so its demand is not known;
- `duplicate`: two samples of one slot; the one that was read last counts;
- `out_of_order`: a sample older than the one before it; it goes where its time says;
- `bad_time`: no time, before 1990, more than a day after now, or more than a year from the middle
  of all (a stray one; when more than 1 % are, the files do not belong together: `TraceInvalid`).

Values above the capacity are kept. Slots without a sample are NaN.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Final

import numpy as np

from evenkeel.domain.arrays import F32, F64, Bools, Ints
from evenkeel.domain.errors import TraceInvalid
from evenkeel.domain.panel import DAY_S, SLOT_S, Calendar, Panel
from evenkeel.domain.resources import Resource
from evenkeel.domain.trace import Trace, carried_forward

YEAR_1990_S: Final = 631_152_000.0
MAX_VALUE: Final = 1e12
MAX_FROM_MIDDLE_S: Final = 366 * DAY_S
MAX_STRAY_SHARE: Final = 0.01
MILLISECONDS_ABOVE: Final = 1e11
"""A time above this is in milliseconds: as seconds it would lie past the year 5000."""

Flaws = Counter[str]


@dataclass(frozen=True, slots=True)
class Source:
    """One file, wherever it lies; `path` is what to call it in messages."""

    path: str
    content: bytes

    @property
    def name(self) -> PurePosixPath:
        return PurePosixPath(self.path)


def find_files(paths: Sequence[Path], suffix: str = "") -> list[Path]:
    """Files under `paths` (files or folders), folders in natural order; zips are files.

    Raises TraceInvalid for what does not exist and when nothing is found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [
                p for p in path.rglob("*") if p.is_file() and not _is_aside(p.relative_to(path))
            ]
            wanted = [p for p in inside if p.suffix.lower() in (suffix, ".parquet", ".zip")]
            found += sorted(wanted if suffix else inside, key=_natural)
        elif path.is_file():
            found.append(path)
        else:
            raise TraceInvalid(f"{path}: no such file or folder")
    if not found:
        what = f"{suffix} " if suffix else ""
        raise TraceInvalid(f"{', '.join(map(str, paths)) or 'nothing'}: no {what}files in there")
    return found


def contents(path: Path, suffix: str = "") -> Iterator[Source]:
    """The file itself, or what is in it when it is a zip."""
    try:
        if path.suffix.lower() != ".zip":
            yield Source(str(path), path.read_bytes())
            return
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist(), key=lambda n: _natural(PurePosixPath(n))):
                aside = name.endswith("/") or _is_aside(PurePosixPath(name))
                if name.lower().endswith(suffix) and not aside:
                    yield Source(f"{path}/{name}", archive.read(name))
    except (OSError, zipfile.BadZipFile) as error:
        raise TraceInvalid(f"{path}: cannot be read: {error}") from error


def clean(values: F64, flaws: Flaws) -> F32:
    """NaN for what no demand can be; the reasons are counted."""
    nan = np.isnan(values)
    negative = values < 0
    absurd = values > MAX_VALUE
    for name, which in (("nan", nan), ("negative", negative), ("absurd", absurd)):
        flaws[name] += int(np.count_nonzero(which))
    return np.where(nan | negative | absurd, np.nan, values).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Columns of R samples in the order they were read: `series` (R,) indexes `ids`."""

    ids: tuple[str, ...]
    series: Ints
    when_s: F64
    values: F64
    capacity: F64
    is_off: Bools


def on_grid(
    samples: Samples, resource: Resource, calendar: Calendar, now_s: float, flaws: Flaws
) -> Trace:
    """One trace over the whole time of `samples`; a sample belongs to the slot nearest its time."""
    when_s = np.where(samples.when_s > MILLISECONDS_ABOVE, samples.when_s / 1e3, samples.when_s)
    # A comparison with NaN is false, so a sample without a time is not good either.
    good = (when_s >= YEAR_1990_S) & (when_s <= now_s + DAY_S)
    if not good.any():
        raise TraceInvalid("no sample has a time between 1990 and now", hint="Is it the format?")
    middle = float(np.median(when_s[good]))
    near = good & (np.abs(when_s - middle) <= MAX_FROM_MIDDLE_S)
    if near.sum() < (1 - MAX_STRAY_SHARE) * good.sum():
        raise TraceInvalid(
            "the samples lie more than a year apart", hint="Give each stretch of time by itself."
        )
    flaws["bad_time"] += int(np.count_nonzero(~near))

    series, when_s = samples.series[near], when_s[near]
    values = clean(samples.values[near], flaws)
    off = samples.is_off[near]
    flaws["off"] += int(np.count_nonzero(off))
    values[off] = np.nan
    capacity = np.where(off | ~(samples.capacity[near] > 0), np.nan, samples.capacity[near])

    same = series[1:] == series[:-1]
    flaws["out_of_order"] += int(np.count_nonzero(same & (np.diff(when_s) < 0)))
    slot = np.floor(when_s / SLOT_S + 0.5).astype(np.int64)
    first, n_slots = int(slot.min()), int(slot.max() - slot.min()) + 1
    n = len(samples.ids)
    grid = np.full(n * n_slots, np.nan, dtype=np.float32)
    cell = series * n_slots + (slot - first)
    grid[cell] = values  # of several for one cell the last stays
    caps = np.full(n * n_slots, np.nan, dtype=np.float32)
    caps[cell] = capacity
    is_hit = np.zeros(n * n_slots, dtype=bool)
    is_hit[cell] = True
    flaws["duplicate"] += len(cell) - int(np.count_nonzero(is_hit))
    capacities = carried_forward(caps.reshape(n, n_slots))
    return Trace(
        label=resource.value,
        panel=Panel(
            ids=samples.ids,
            values=grid.reshape(n, n_slots),
            start_s=first * SLOT_S,
            resource=resource,
            capacity=capacities[:, -1].astype(np.float64),
            calendar=calendar,
        ),
        capacities=capacities,
    )


def counted(flaws: Flaws) -> dict[str, int]:
    """Only what did occur."""
    return {name: n for name, n in sorted(flaws.items()) if n}


def columns_or_fail(path: Path, wanted: Iterable[str], found: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise TraceInvalid(
            f"{path}: column {missing[0]!r} is missing; it has {', '.join(found) or 'none'}"
        )


def _is_aside(path: PurePath) -> bool:
    """Hidden files and folders, and what people lay beside data to read."""
    is_hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return is_hidden or path.suffix.lower() == ".md" or path.stem.upper() in ("README", "LICENSE")


def _natural(path: PurePosixPath | Path) -> list[tuple[int, str]]:
    """2.csv before 10.csv."""
    return [
        (int(part), "") if part.isdigit() else (-1, part)
        for part in re.split(r"(\d+)", path.as_posix())
    ]
