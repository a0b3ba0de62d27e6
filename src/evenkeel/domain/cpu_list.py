"""CPUs as the kernel lists them."""

from __future__ import annotations

from evenkeel.domain.errors import ConfigInvalid


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """`"0-2,5"` -> (0, 1, 2, 5), the kernel's CPU list format. Raises ConfigInvalid."""
    cpus: set[int] = set()
    for part in filter(None, (p.strip() for p in text.split(","))):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError as error:
            raise ConfigInvalid(f"{part!r} is not a CPU or a range of CPUs") from error
        if low < 0 or high < low:
            raise ConfigInvalid(f"{part!r} is not a range of CPUs")
        cpus.update(range(low, high + 1))
    return tuple(sorted(cpus))
