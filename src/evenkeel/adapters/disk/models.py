"""The short models on disk, so that an agent that starts while its controller is away has them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from evenkeel.adapters.disk.whole import sweep, sync_directory, write_whole
from evenkeel.domain.errors import ModelCorrupt, ModelsUnavailable
from evenkeel.domain.resources import Resource
from evenkeel.ports import KeptModel


class FileModelMemory:
    """Implements `ports.ModelMemory`: `<resource>.model` is a line (checksum, id) and the blob.

    Files are replaced whole or not at all; what a killed agent left half written is removed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        sweep(root)

    def load(self, resource: Resource) -> KeptModel | None:
        path = self._file(resource)
        try:
            head, _, blob = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ModelCorrupt(f"{path} cannot be read: {error.strerror}") from error
        sha256, _, model_id = head.decode(errors="replace").partition(" ")
        if hashlib.sha256(model_id.encode() + blob).hexdigest() != sha256:
            raise ModelCorrupt(f"{path} is damaged: its checksum is wrong")
        return KeptModel(model_id, hashlib.sha256(blob).hexdigest(), blob)

    def save(self, resource: Resource, model: KeptModel | None) -> None:
        path = self._file(resource)
        try:
            if model is None:
                path.unlink(missing_ok=True)
                sync_directory(self._root)
                return
            name = model.id.encode()
            head = hashlib.sha256(name + model.blob).hexdigest().encode() + b" " + name + b"\n"
            write_whole(path, lambda file: file.write(head + model.blob))
        except OSError as error:
            raise ModelsUnavailable(f"{path}: {error.strerror or error}") from error

    def _file(self, resource: Resource) -> Path:
        return self._root / f"{resource.value}.model"
