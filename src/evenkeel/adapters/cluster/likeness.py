"""Whether two machines would compute the same: the code and the libraries that decide results."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import evenkeel

LIBRARIES: Final = ("numpy", "scipy", "numba", "lightgbm", "onnxruntime", "torch")


@cache
def likeness() -> Mapping[str, str]:
    """What decides results here: name -> version; of Evenkeel a digest of its source."""
    root = Path(evenkeel.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    found = {
        "evenkeel": f"{evenkeel.__version__} ({digest.hexdigest()[:12]})",
        "python": ".".join(platform.python_version_tuple()[:2]),
        "processor": platform.machine(),
    }
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """In words; "" for none. A library that only one of them has is missed when it is needed."""
    return ", ".join(
        f"{name} {there[name]} instead of {here[name]}"
        for name in here
        if name in there and here[name] != there[name]
    )
