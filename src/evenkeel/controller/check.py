"""What a well-formed batch must also be before it is stored: of this host, and of sane size."""

from __future__ import annotations

from typing import Final

from evenkeel.domain.errors import BatchInvalid, Forbidden
from evenkeel.domain.ids import HostId
from evenkeel.wire import Batch, decode_batch

MAX_NAME: Final = 255
MAX_EPOCH: Final = 64
MAX_SEQ: Final = 2**53


def checked_batch(raw: bytes, host: HostId) -> Batch:
    """Decode a batch that `host` sent. Raises BatchInvalid; Forbidden when it names another."""
    if b"\\u0000" in raw:
        raise BatchInvalid("batch holds a NUL character")
    batch = decode_batch(raw)
    if batch.host.id != host:
        raise Forbidden("the batch is of another host than the token")
    if not 0 < len(batch.epoch) <= MAX_EPOCH or batch.seq > MAX_SEQ:
        raise BatchInvalid(f"epoch is not 1-{MAX_EPOCH} characters, or seq is beyond {MAX_SEQ}")
    names: list[str] = [mitigation.id for mitigation in batch.mitigations]
    for mitigation in batch.mitigations:
        if mitigation.host != host:
            raise BatchInvalid(f"mitigation {mitigation.id!r} is of another host")
        names += [mitigation.target, mitigation.victim, mitigation.aggressor]
    for score in batch.scores:
        names += [score.victim, score.aggressor]
        if score.n_samples > MAX_SEQ:
            raise BatchInvalid("n_samples is out of range")
    for vm in batch.tick.vms if batch.tick else ():
        names += [vm.id, vm.name, vm.tenant]
    for name in names:
        if not 0 < len(name) <= MAX_NAME:
            raise BatchInvalid(f"a name or id is not 1-{MAX_NAME} characters: {name[:40]!r}")
    return batch
