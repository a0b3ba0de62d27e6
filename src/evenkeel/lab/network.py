"""The lab's network: one switch, a leg for the machine itself ("outside") and one per host."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Final

from evenkeel.domain.errors import LabError
from evenkeel.lab.commands import run
from evenkeel.lab.names import LabNames

_COMPLETE: Final = "evenkeel lab: complete"


class LabNetwork:
    """Network namespaces and links of one lab, found by name."""

    def __init__(self, names: LabNames) -> None:
        self._names = names

    def create(self) -> None:
        """The switch and the outside leg. Raises LabError."""
        switch, outside = self._names.switch_namespace, self._names.interface
        run("ip", "netns", "add", switch)
        run("ip", "-n", switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        run("ip", "-n", switch, "link", "set", "br0", "up")
        leg = ("type", "veth", "peer", "name", "outside", "netns", switch)
        run("ip", "link", "add", outside, *leg)
        run("ip", "-n", switch, "link", "set", "outside", "master", "br0", "up")
        run("ip", "addr", "add", f"{self._names.outside_address}/24", "dev", outside)
        run("ip", "link", "set", outside, "up")

    def create_host(self, host: str) -> None:
        """A network namespace with eth0 plugged into the switch. Raises LabError."""
        switch, namespace = self._names.switch_namespace, self._names.host_namespace(host)
        run("ip", "netns", "add", namespace)
        peer = ("peer", "name", "eth0", "netns", namespace)
        run("ip", "-n", switch, "link", "add", host, "type", "veth", *peer)
        run("ip", "-n", switch, "link", "set", host, "master", "br0", "up")

    def mark_complete(self) -> None:
        """Remember, in the kernel, that `up` came to its end."""
        run("ip", "link", "set", self._names.interface, "alias", _COMPLETE)

    def is_complete(self) -> bool:
        if not self._has_interface():
            return False
        links = json.loads(run("ip", "-j", "link", "show", self._names.interface))
        return any(link.get("ifalias") == _COMPLETE for link in links)

    def namespaces(self) -> list[str]:
        directory = Path("/run/netns")
        return sorted(p.name for p in directory.glob(f"{self._names.namespace_prefix}*"))

    def exists(self) -> bool:
        return self._has_interface() or bool(self.namespaces())

    def remove(self) -> int:
        """Remove every link and namespace of the lab; returns how many namespaces there were."""
        if self._has_interface():
            with contextlib.suppress(LabError):  # its switch may just be going, and take it along
                run("ip", "link", "del", self._names.interface)
        namespaces = self.namespaces()
        for namespace in namespaces:
            run("ip", "netns", "del", namespace)
        return len(namespaces)

    def _has_interface(self) -> bool:
        return Path("/sys/class/net", self._names.interface).exists()
