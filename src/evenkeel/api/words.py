"""What was changed and who hurts whom, in words a person can act on."""

from __future__ import annotations

from evenkeel.api.schemas import PairOut, VmOut
from evenkeel.domain.plan import Instruction, SetCpuQuota, SetCpuShares, SetVcpuPins
from evenkeel.domain.resources import SPECS, Resource

VISIBLE_LOSS = 0.01
VISIBLE_SCORE = 1.0


def change(instruction: Instruction, n_vcpus: int) -> str:
    """What an instruction does to a VM with this many vCPUs."""
    match instruction:
        case SetVcpuPins(vcpu_pins=pins):
            return _pins(pins)
        case SetCpuShares(shares=shares):
            return f"CPU weight set to {shares}"
        case SetCpuQuota(quota_us=quota_us) if quota_us < 0:
            return "CPU cap removed"
        case SetCpuQuota(period_us=period_us, quota_us=quota_us):
            cores = quota_us / period_us * max(1, n_vcpus) if period_us > 0 else 0.0
            return f"CPU capped at {cores:.2f} cores"


def _pins(pins: tuple[tuple[int, ...], ...]) -> str:
    if len(set(pins)) == 1 and len(pins) > 1:
        return f"vCPUs 0-{len(pins) - 1} pinned to {_cpus(pins[0])}"
    return ", ".join(f"vCPU {k} pinned to {_cpus(cpus)}" for k, cpus in enumerate(pins))


def _cpus(cpus: tuple[int, ...]) -> str:
    return f"CPU{'s' if len(cpus) != 1 else ''} {ranges(cpus)}"


def ranges(cpus: tuple[int, ...]) -> str:
    """(0, 1, 2, 5) -> "0-2,5"."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in runs)


def summary(vm: VmOut, hurt_by: list[PairOut], silent_s: float | None) -> str:
    """The one sentence of `why`. `silent_s`: for how long its host said nothing, if too long."""
    if silent_s is not None:
        return f"Nothing is known of {vm.name} now: {vm.host} has been silent for {silent_s:.0f} s."
    resource, loss = _worst_loss(vm)
    culprits = [pair for pair in hurt_by if pair.score >= VISIBLE_SCORE]
    if loss is None:
        if not culprits:
            return f"What {vm.name} loses cannot be measured on {vm.host} yet."
        return f"{vm.name} should lose to {_culprit(culprits[0])}; its loss cannot be measured."
    if loss >= VISIBLE_LOSS:
        what = f"{vm.name} loses {loss:.0%} of the {SPECS[resource].label} it wants".replace(
            "%", " %"
        )
        same = [pair for pair in culprits if pair.resource is resource]
        if same:
            return f"{what}, mostly to {_culprit(same[0])}."
        return f"{what}, and no neighbour can be named for it."
    if culprits:
        return f"{vm.name} loses nothing now, but is expected to lose to {_culprit(culprits[0])}."
    return f"{vm.name} loses nothing that can be seen."


def _worst_loss(vm: VmOut) -> tuple[Resource, float | None]:
    known = [(one.loss, one.resource) for one in vm.readings if one.loss is not None]
    if not known:
        return Resource.CPU, None
    loss, resource = max(known, key=lambda one: one[0])
    return resource, loss


def _culprit(pair: PairOut) -> str:
    return f"{pair.aggressor_name} (score {pair.score:.0f}, confidence {pair.confidence:.1f})"


def host_trouble(host: str, last_seen_s: float, problem: str, now_s: float, silent_s: float) -> str:
    """One line for the list of problems."""
    age_s = now_s - last_seen_s
    return f"{host}: silent for {age_s:.0f} s" if age_s > silent_s else f"{host}: {problem}"
