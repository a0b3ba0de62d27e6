"""Does KVM really boot a guest here? /dev/kvm alone proves nothing: only a boot does."""

from __future__ import annotations

import json
import os
import platform
import selectors
import subprocess
import time
from pathlib import Path
from typing import IO, Final

from evenkeel.lab.config import Accel
from evenkeel.lab.image import GuestImage, Report

_READY: Final = b"EVENKEEL-GUEST-READY"
_PATIENCE_S: Final = 10.0


def choose(wanted: Accel, image: GuestImage, build_dir: Path, report: Report) -> Accel:
    """KVM or TCG. The probe's answer is kept, for this kernel, in the build directory."""
    if wanted is not Accel.AUTO:
        return wanted
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accel.TCG
    record = build_dir / "accel.json"
    key = platform.release()
    try:
        known = json.loads(record.read_text())
        if known["key"] == key:
            return Accel(known["accel"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no answer, or a damaged one: probe again
    report(f"trying KVM (at most {_PATIENCE_S:.0f} s)")
    answer = Accel.KVM if boots(image, "kvm", _PATIENCE_S) else Accel.TCG
    aside = record.with_suffix(".new")
    aside.write_text(json.dumps({"key": key, "accel": answer}))
    aside.rename(record)
    return answer


def boots(image: GuestImage, accel: str, patience_s: float) -> bool:
    """Boot the guest image with QEMU alone; true when it gets to the end of its start."""
    argv = ["setpriv", "--pdeathsig", "KILL"]  # the probe is in no cgroup of the lab's
    argv += ["qemu-system-x86_64", "-accel", accel, "-m", "96", "-nodefaults", "-no-user-config"]
    argv += ["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", str(image.kernel)]
    argv += ["-initrd", str(image.initrd), "-append", "console=ttyS0 quiet panic=-1"]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as qemu:
        try:
            deadline = time.monotonic() + patience_s
            return qemu.stdout is not None and _said_ready(qemu.stdout, deadline)
        finally:
            qemu.kill()


def _said_ready(output: IO[bytes], deadline: float) -> bool:
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                return False
            chunk = os.read(output.fileno(), 65536)
            if not chunk:
                return False  # QEMU gave up
            seen = (seen + chunk)[-200_000:]
            if _READY in seen:
                return True
    return False
