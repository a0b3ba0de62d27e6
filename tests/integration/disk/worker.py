"""Works on a journal and a spool as fast as it can until it is killed; says what is done.

`worker.py DIRECTORY FIRST`: every line goes out in one write after the call has returned, except
"taking N", which goes out before the batch is dropped.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from evenkeel.adapters.disk.journal import SqliteJournal
from evenkeel.adapters.disk.spool import SqliteSpool
from evenkeel.domain.ids import HostId, MitigationId, VmId
from evenkeel.domain.plan import ActionKind, Mitigation, MitigationState, SetCpuShares
from evenkeel.domain.resources import Resource
from evenkeel.domain.vm import CpuTuning

MAX_BYTES = 1 << 30


def say(text: str) -> None:
    os.write(1, (text + "\n").encode())


def mitigation(number: int) -> Mitigation:
    vm = VmId(f"vm-{number}")
    return Mitigation(
        id=MitigationId(f"m{number}"),
        host=HostId("h1"),
        kind=ActionKind.BOOST,
        target=vm,
        victim=vm,
        aggressor=VmId("vm-a"),
        resource=Resource.CPU,
        instruction=SetCpuShares(vm=vm, shares=4096),
        prior=CpuTuning(vcpu_pins=((0, 1),), shares=1024),
        reason="kill test",
        created_at_s=float(number),
        expires_at_s=number + 120.0,
        state=MitigationState.INTENDED,
        loss_before=0.4,
        predicted_loss=0.1,
    )


def main(directory: Path, number: int) -> None:
    journal = SqliteJournal(directory / "journal.db")
    spool = SqliteSpool(directory / "spool.db", MAX_BYTES)
    say("ready")
    while True:
        number += 1
        intended = mitigation(number)
        journal.record(intended)
        say(f"intended {number}")
        spool.put(b"%08d " % number + b"x" * (number % 7 * 1000))
        say(f"put {number}")
        if number % 2:
            journal.record(replace(intended, state=MitigationState.ROLLED_BACK))
            say(f"closed {number}")
        if number % 3 and (found := spool.oldest()) is not None:
            taken = int(found[1][:8])
            say(f"taking {taken}")
            spool.drop(found[0])
            say(f"taken {taken}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
