"""Names and addresses of lab K, all derived from K, so that everything is found without a record.

`lab down` after a crash, or with its files gone, looks for these names and for nothing else.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_LAB: Final = 254
MAX_HOSTS: Final = 32
MAX_GUESTS: Final = 153
"""Guest i has address .(100+i); .254 is the outside."""

_HOST_UUIDS: Final = uuid.UUID("1ab00000-0000-4000-8000-000000000000")


@dataclass(frozen=True, slots=True)
class LabNames:
    """What lab `number` calls its parts. Host and guest numbers start at 1."""

    number: int

    @property
    def cgroup(self) -> str:
        return f"evenkeel-lab-{self.number}"

    @property
    def interface(self) -> str:
        """The machine's own leg in the lab's network; its alias tells that the lab is complete."""
        return f"evk{self.number}"

    @property
    def switch_namespace(self) -> str:
        """Holds the bridge, away from the machine's firewall rules (Docker drops forwards)."""
        return f"evk{self.number}-switch"

    @property
    def namespace_prefix(self) -> str:
        return f"evk{self.number}-"

    @property
    def link(self) -> Path:
        """Symlink to the state directory of a lab that is up, wherever it was started from."""
        return Path(f"/run/evenkeel-lab-{self.number}")

    @property
    def subnet(self) -> str:
        return f"10.77.{self.number}"

    @property
    def outside_address(self) -> str:
        return f"{self.subnet}.254"

    def host(self, i: int) -> str:
        return f"h{i}"

    def host_namespace(self, host: str) -> str:
        return f"{self.namespace_prefix}{host}"

    def host_address(self, i: int) -> str:
        return f"{self.subnet}.{i}"

    def host_uuid(self, i: int) -> str:
        return str(uuid.uuid5(_HOST_UUIDS, f"{self.number}/{i}"))

    def guest_address(self, i: int) -> str:
        return f"{self.subnet}.{100 + i}"

    def guest_mac(self, i: int) -> str:
        return f"52:54:00:77:{self.number:02x}:{i:02x}"

    def guest_number(self, mac: str) -> int | None:
        """The number of the guest with this MAC address; None for any other."""
        prefix, _, last = mac.lower().rpartition(":")
        if prefix != self.guest_mac(0).rpartition(":")[0]:
            return None
        return int(last, 16)


def host_number(name: str) -> int | None:
    """`"h3"` -> 3; None when it is no host's name."""
    digits = name.removeprefix("h")
    if not name.startswith("h") or not digits.isdecimal() or digits.startswith("0"):
        return None
    return int(digits)
