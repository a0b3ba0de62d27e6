"""Named arrays as bytes and back: how fitted models are saved. The same arrays, the same bytes."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import numpy as np

from evenkeel.domain.errors import ModelCorrupt

_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(**arrays: np.ndarray[Any, Any]) -> bytes:
    """An `.npz` without timestamps, readable by `numpy.load`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            part = io.BytesIO()
            np.lib.format.write_array(part, np.asarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), part.getvalue())
    return out.getvalue()


def unpack(blob: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Raises ModelCorrupt when `blob` is not what `pack` gave."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except _DAMAGE as error:
        raise ModelCorrupt(f"this is no saved model: {error}") from error


def from_text(text: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def text(array: np.ndarray[Any, Any]) -> str:
    return array.tobytes().decode()
