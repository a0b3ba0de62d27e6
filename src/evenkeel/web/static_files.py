"""The page's own CSS, JavaScript and vendored libraries, read once from the package.

Only the files found at start can be asked for, so no path in a URL ever reaches the disk. URLs
carry a digest of the content; browsers may keep such a file for good.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    content: bytes
    media_type: str
    digest: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Path below `static/` -> file, for the media types above."""
    found: dict[str, StaticFile] = {}
    _collect(resources.files("evenkeel.web").joinpath("static"), "", found)
    return found


def _collect(folder: Traversable, prefix: str, found: dict[str, StaticFile]) -> None:
    for entry in folder.iterdir():
        path = prefix + entry.name
        if entry.is_dir():
            _collect(entry, path + "/", found)
            continue
        media_type = _MEDIA_TYPES.get("." + entry.name.rpartition(".")[2])
        if media_type is not None:
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            found[path] = StaticFile(content, media_type, digest)


def static_url(path: str) -> str:
    """URL of a static file; KeyError if the package has no such file."""
    return f"/static/{path}?v={static_files()[path].digest}"
