"""Starting and finding guests on the hosts of a lab."""

from __future__ import annotations

import contextlib
from typing import Any

from evenkeel.domain.errors import LabError
from evenkeel.lab import accel
from evenkeel.lab.config import Accel
from evenkeel.lab.domain_xml import GuestSpec, check_name, disk_path, domain_xml
from evenkeel.lab.guests import Guest
from evenkeel.lab.hosts import LabHosts, listens
from evenkeel.lab.image import GuestImage, Report, ensure_image
from evenkeel.lab.names import MAX_GUESTS


class LabGuests(LabHosts):
    """Hosts, and the guests on them. Guests are found through libvirt, whoever started them."""

    def start_guest(
        self, host: str, name: str, spec: GuestSpec | None = None, wait: bool = True
    ) -> Guest:
        """Start a transient guest; with `wait` it answers HTTP when this returns.

        Raises ConfigInvalid for a bad name, LabError when libvirt refuses or it does not boot.
        """
        import libvirt

        check_name(name)
        spec = spec or GuestSpec()
        boot = self._boot_choice(quiet)
        connection = self.connect(host)
        with self._starting:  # between choosing a number and its being seen
            guest = self._guest(name, host, self._free_number(name, spec.number))
            if spec.disk_mib:
                with disk_path(self.state_dir, name).open("wb") as disk:
                    disk.truncate(spec.disk_mib << 20)
            xml = domain_xml(name, guest.number, spec, self.names, self.state_dir, boot)
            try:
                connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED if spec.paused else 0)
            except libvirt.libvirtError as error:
                self._forget(guest)
                raise LabError(f"guest {name} does not start on {host}: {error}") from error
        if wait and not spec.paused:
            guest.wait_ready()
        return guest

    def guests(self) -> tuple[Guest, ...]:
        """The guests that are on any host now, wherever they were started from."""
        found = []
        for host in self.hosts:
            if listens(host.address):
                for domain in self.connect(host.name).listAllDomains():
                    with contextlib.suppress(LabError):
                        found.append(self._guest_of(domain, host.name))
        return tuple(sorted(found, key=lambda guest: guest.number))

    def guest(self, name: str) -> Guest:
        """The guest of this name. Raises LabError."""
        for guest in self.guests():
            if guest.name == name:
                return guest
        raise LabError(f"lab {self.config.number} has no guest {name!r}")

    def _boot_choice(self, report: Report) -> tuple[GuestImage, Accel]:
        build = self.config.build_dir
        image = ensure_image(build, report)
        return image, accel.choose(self.config.accel, image, build, report)

    def _free_number(self, name: str, wanted: int | None) -> int:
        present = self.guests()
        if any(guest.name == name for guest in present):
            raise LabError(f"there is a guest {name} already")
        taken = {guest.number for guest in present}
        free = [n for n in range(1, MAX_GUESTS + 1) if n not in taken]
        number = wanted or next(iter(free), 0)
        if number not in free:
            raise LabError(f"guest number {number} is taken" if wanted else "no number is free")
        return number

    def _forget(self, guest: Guest) -> None:
        disk_path(self.state_dir, guest.name).unlink(missing_ok=True)

    def _guest(self, name: str, host: str, number: int) -> Guest:
        address = self.names.guest_address(number)
        console = self.state_dir / host / "log" / f"{name}.serial"
        return Guest(name, host, number, address, console, self.connect, self._forget)

    def _guest_of(self, domain: Any, host: str) -> Guest:
        """Raises LabError for a domain that is gone, or none of the lab's making."""
        import libvirt

        try:
            macs = domain.XMLDesc().split("<mac address='")[1:]
            name = domain.name()
        except libvirt.libvirtError as error:
            raise LabError(f"a guest of {host} went away: {error}") from error
        numbers = [self.names.guest_number(mac[:17]) for mac in macs]
        if not numbers or numbers[0] is None:
            raise LabError(f"domain {name} on {host} has no address of the lab's")
        return self._guest(name, host, numbers[0])


def quiet(_: str) -> None:
    """Report progress to nobody."""
