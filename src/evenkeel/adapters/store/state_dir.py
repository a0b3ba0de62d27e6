"""Secrets that live beside the database and not in it: the admin token and the controller's key.

Whoever reads the database alone can neither sign in nor tell who is behind a pseudonym.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from evenkeel.domain.errors import ConfigInvalid

KEY_BYTES = 32


class StateDir:
    """`controller.state_dir`. All methods raise ConfigInvalid when it cannot be used."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    @property
    def admin_token_file(self) -> Path:
        return self._path / "admin.token"

    def key(self) -> bytes:
        """The key of this installation, made at the first start."""
        text = self._read_or_make(self._path / "controller.key", secrets.token_hex(KEY_BYTES))
        try:
            key = bytes.fromhex(text)
        except ValueError as error:
            raise ConfigInvalid(f"{self._path / 'controller.key'} does not hold a key") from error
        if len(key) < KEY_BYTES:
            raise ConfigInvalid(f"{self._path / 'controller.key'} is too short to be a key")
        return key

    def admin_token(self, new: str) -> str:
        """What the admin token file holds; `new` is written into it if it is not there."""
        return self._read_or_make(self.admin_token_file, new)

    def _read_or_make(self, file: Path, content: str) -> str:
        try:
            self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not file.exists():
                _write_once(file, content)
            return file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(
                f"{file} cannot be used: {error}", hint="See controller.state_dir."
            ) from error


def _write_once(file: Path, content: str) -> None:
    """Whole, durable and private (0600); if another process was quicker, its file stays."""
    descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(content + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        if not file.exists():
            try:
                os.link(partial, file)
            except FileExistsError:
                return
    finally:
        os.unlink(partial)
