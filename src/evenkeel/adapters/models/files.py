"""`ModelRegistry` in files: `<id>.model`, `<id>.json` and one `serving.json` that says who serves.

A model is there from the moment its record is (the blob is written before it); who serves changes
by replacing one small file. So a process killed between any two writes leaves the former state,
and at most a blob without a record, which the next `add` of the same model replaces.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from evenkeel.adapters.disk.whole import sweep, write_whole
from evenkeel.decoding import decoder
from evenkeel.domain.errors import ModelCorrupt, ModelNotFound, ModelsUnavailable
from evenkeel.domain.model import MODEL_ID, Horizon, ModelInfo, ModelRecord, ModelState
from evenkeel.domain.resources import Resource

VERSION: Final = 1


class _Serving(msgspec.Struct, frozen=True):
    """By `_key`: the line of those that served (champion first), and the demoted."""

    v: int = VERSION
    lines: dict[str, tuple[str, ...]] = {}
    retired: dict[str, tuple[str, ...]] = {}


_serving_decoder = decoder(_Serving)
_info_decoder = decoder(ModelInfo)


class FileModelRegistry:
    """See `evenkeel.ports_history.ModelRegistry`. Several processes may share the directory.

    Parameters
    ----------
    root : directory, made if it is not there

    Raises
    ------
    ModelsUnavailable
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mutex = threading.RLock()
        with _translated("opened"):
            root.mkdir(parents=True, exist_ok=True)
            sweep(root)

    def add(self, info: ModelInfo, blob: bytes) -> None:
        if not MODEL_ID.fullmatch(info.id) or info.id == "serving":
            raise ValueError(f"{info.id!r} is no id for a model")
        if info.size_bytes != len(blob) or info.sha256 != hashlib.sha256(blob).hexdigest():
            raise ValueError(f"the record of {info.id} is not of this blob")
        with self._locked("written"):
            known = self._info(info.id)
            if known is not None and known.sha256 != info.sha256:
                raise ValueError(f"another model has the id {info.id}")
            write_whole(self._blob_file(info.id), lambda file: file.write(blob))
            record = msgspec.json.format(msgspec.json.encode(info), indent=1)
            write_whole(self._info_file(info.id), lambda file: file.write(record))

    def models(self, resource: Resource | None = None) -> Sequence[ModelRecord]:
        with _translated("read"):
            names = [p.stem for p in self._root.glob("*.json") if p.stem != "serving"]
            serving = self._serving()
            found = [info for name in names if (info := self._info(name)) is not None]
        chosen = [info for info in found if resource is None or info.resource is resource]
        chosen.sort(key=lambda info: (info.created_at_s, info.id), reverse=True)
        return [ModelRecord(info, _state(serving, info)) for info in chosen]

    def model(self, model_id: str) -> ModelRecord:
        with _translated("read"):
            info = self._info(model_id)
            if info is None:
                raise ModelNotFound(f"there is no model {model_id!r}")
            return ModelRecord(info, _state(self._serving(), info))

    def blob(self, model_id: str) -> bytes:
        info = self.model(model_id).info
        try:
            blob = self._blob_file(model_id).read_bytes()
        except FileNotFoundError as error:
            raise ModelCorrupt(f"the file of model {model_id} is gone") from error
        except OSError as error:
            raise ModelsUnavailable(f"model {model_id} cannot be read: {error}") from error
        if len(blob) != info.size_bytes or hashlib.sha256(blob).hexdigest() != info.sha256:
            raise ModelCorrupt(f"the file of model {model_id} is damaged: its checksum is wrong")
        return blob

    def line(self, resource: Resource, horizon: Horizon = Horizon.LONG) -> Sequence[str]:
        with _translated("read"):
            return self._serving().lines.get(_key(resource, horizon), ())

    def promote(self, model_id: str) -> ModelRecord:
        self.blob(model_id)
        info = self.model(model_id).info

        key = _key(info.resource, info.horizon)

        def promoted(serving: _Serving) -> _Serving:
            rest = tuple(each for each in serving.lines.get(key, ()) if each != model_id)
            retired = tuple(x for x in serving.retired.get(key, ()) if x != model_id)
            return _with(serving, key, (model_id, *rest), retired)

        self._change(promoted)
        return self.model(model_id)

    def rollback(self, resource: Resource, horizon: Horizon = Horizon.LONG) -> ModelRecord | None:
        key = _key(resource, horizon)

        def demoted(serving: _Serving) -> _Serving:
            line = serving.lines.get(key, ())
            if not line:
                raise ModelNotFound(
                    f"no model of {key} serves", hint="The built-in forecaster does."
                )
            return _with(serving, key, line[1:], (line[0], *serving.retired.get(key, ())))

        line = self._change(demoted).lines[key]
        return self.model(line[0]) if line else None

    def _change(self, change: Callable[[_Serving], _Serving]) -> _Serving:
        with self._locked("written"):
            serving = change(self._serving())
            text = msgspec.json.format(msgspec.json.encode(serving), indent=1)
            write_whole(self._root / "serving.json", lambda file: file.write(text))
            return serving

    def _serving(self) -> _Serving:
        try:
            raw = (self._root / "serving.json").read_bytes()
        except FileNotFoundError:
            return _Serving()
        try:
            serving = _serving_decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelsUnavailable(
                f"{self._root / 'serving.json'} is damaged: {error}",
                hint="Remove it, then promote the model that should serve.",
            ) from error
        if serving.v != VERSION:
            raise ModelsUnavailable(f"{self._root} was written by another version of Evenkeel")
        return serving

    def _info(self, model_id: str) -> ModelInfo | None:
        """None when there is no such model or its record is damaged."""
        if not MODEL_ID.fullmatch(model_id):
            return None
        try:
            info = _info_decoder.decode(self._info_file(model_id).read_bytes())
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return info if info.id == model_id else None

    def _blob_file(self, model_id: str) -> Path:
        return self._root / f"{model_id}.model"

    def _info_file(self, model_id: str) -> Path:
        return self._root / f"{model_id}.json"

    @contextlib.contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        """One writer at a time, over processes too; the lock ends with its holder."""
        with self._mutex, _translated(what):
            handle = os.open(self._root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)


def _state(serving: _Serving, info: ModelInfo) -> ModelState:
    key = _key(info.resource, info.horizon)
    line = serving.lines.get(key, ())
    if line[:1] == (info.id,):
        return ModelState.CHAMPION
    served = info.id in line or info.id in serving.retired.get(key, ())
    return ModelState.RETIRED if served else ModelState.CHALLENGER


def _key(resource: Resource, horizon: Horizon) -> str:
    return resource.value if horizon is Horizon.LONG else f"{resource.value}.{horizon.value}"


def _with(serving: _Serving, key: str, line: tuple[str, ...], retired: tuple[str, ...]) -> _Serving:
    return _Serving(lines={**serving.lines, key: line}, retired={**serving.retired, key: retired})


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelsUnavailable(f"the models could not be {what}: {reason}") from error
