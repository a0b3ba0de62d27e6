"""Changes that travelled: a VM that migrated with its knobs turned, and who shall turn them back.

libvirt takes pins, shares and quota along. The host that turned them can only abandon them, so the
host where the VM is now is asked to undo them. Level-triggered: it is asked with every answer until
its batches show that it did.
"""

from __future__ import annotations

from evenkeel.control.knobs import holds
from evenkeel.domain.plan import Mitigation
from evenkeel.ports_store import Session
from evenkeel.wire import Batch


def strays(session: Session, batch: Batch) -> tuple[Mitigation, ...]:
    """Mitigations of other hosts whose change still stands on a VM that this host reports."""
    if batch.tick is None:
        return ()
    tunings = {vm.id: vm.tuning for vm in batch.tick.vms}
    left = [
        one
        for one in session.chronicle.abandoned(tunings)
        if one.host != batch.host.id and holds(one.instruction, tunings[one.target])
    ]
    known = session.chronicle.mitigations_by_id(batch.host.id, [one.id for one in left])
    return tuple(one for one in left if one.id not in known)
