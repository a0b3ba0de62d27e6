"""Who may stand beside whom while VMs move: rules in arrays, and what they forbid a planner.

`rules.py` answers the same for VMs that come one by one. A plan never breaks a rule that holds: a
VM moves to where nobody is from whom it stands apart, and not away from one that needs it near. A
rule that is broken already binds nobody, but for standing apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from evenkeel.domain.arrays import Bools, Ints
from evenkeel.placement.fleet import NOWHERE

NOBODY: Final[Ints] = np.zeros(0, dtype=np.intp)


def _nobody() -> Ints:
    return NOBODY


def _nothing() -> Bools:
    return np.zeros(0, dtype=bool)


@dataclass(frozen=True, slots=True, eq=False)
class Company:
    """Rules between VMs, and of VMs and hosts.

    VM `member[m]` belongs to group `group[m]`. VM `vm[n]` must share a host (with `by_domain[n]` a
    fault domain) with another one of group `of[n]`; with `apart[n]` it must not, which binds both
    sides. `alone` (V,): no VM of another tenant on its host. `barred`: by VM, hosts (H,) that are
    closed to it. What is not told is no rule.
    """

    member: Ints = field(default_factory=_nobody)
    group: Ints = field(default_factory=_nobody)
    vm: Ints = field(default_factory=_nobody)
    of: Ints = field(default_factory=_nobody)
    apart: Bools = field(default_factory=_nothing)
    by_domain: Bools = field(default_factory=_nothing)
    alone: Bools | None = None
    barred: Mapping[int, Bools] = field(default_factory=dict)

    @classmethod
    def apart_by(cls, member: Ints, group: Ints, by_domain: Bools) -> Company:
        """Members of a group keep apart from each other: those with `by_domain` (G,) to different
        fault domains."""
        every = np.ones(len(member), dtype=bool)
        return cls(member, group, member, group, every, by_domain[group])


class Beside:
    """What a company forbids, for a packing that changes; it keeps nothing of where VMs are.

    Parameters
    ----------
    tenant : (V,) codes; domain : (H,) fault domains
    """

    def __init__(self, company: Company | None, tenant: Ints, domain: Ints) -> None:
        self.company = company or Company()
        self._tenant = tenant
        self._domain = domain
        rules = self.company
        self._members = _by(rules.group, rules.member)
        self._groups: dict[int, list[int]] = defaultdict(list)
        for vm, group in zip(rules.member.tolist(), rules.group.tolist(), strict=True):
            self._groups[vm].append(group)
        self._rules: dict[int, list[tuple[int, bool, bool]]] = defaultdict(list)
        holders: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for n, vm in enumerate(rules.vm.tolist()):
            rule = (int(rules.of[n]), bool(rules.apart[n]), bool(rules.by_domain[n]))
            self._rules[vm].append(rule)
            holders[rule].append(vm)
        self._holders = {rule: np.unique(np.array(vms)) for rule, vms in holders.items()}
        self._outside = {
            rule: np.setdiff1d(vms, self._members.get(rule[0], NOBODY))
            for rule, vms in self._holders.items()
        }
        """Those of them who are not of the group that their rule names."""
        alone = rules.alone
        self._alone = NOBODY if alone is None else np.flatnonzero(alone)
        self.in_order = self._in_order()
        """By VM: codes of those that have to move one after the other."""

    def is_empty(self) -> bool:
        return not (len(self.company.vm) or len(self._alone) or self.company.barred)

    def forbidden(self, vm: int, host: Ints) -> Bools | None:
        """(H,) where the VM must not go, with everybody on `host` (V,); None: no rule binds it."""
        out = np.zeros(len(self._domain), dtype=bool)
        bound = self._apart(vm, host, out)
        bound |= self._together(vm, host, out)
        bound |= self._needed_by(vm, host, out)
        bound |= self._tenancy(vm, host, out)
        barred = self.company.barred.get(vm)
        if barred is not None:
            out |= barred
            bound = True
        return out if bound else None

    def _apart(self, vm: int, host: Ints, out: Bools) -> bool:
        """From those of the groups it names, and from those who name one of its own."""
        found = False
        for group, apart, by_domain in self._rules.get(vm, ()):
            if apart:
                out |= self._near(self._members.get(group, NOBODY), vm, host, by_domain)
                found = True
        for group in self._groups.get(vm, ()):
            for by_domain in (False, True):
                rule = (group, True, by_domain)
                # Whoever names its own group has been asked about all of it.
                asked = rule in self._rules.get(vm, ())
                holders = (self._outside if asked else self._holders).get(rule, NOBODY)
                if len(holders):
                    out |= self._near(holders, vm, host, by_domain)
                    found = True
        return found

    def _together(self, vm: int, host: Ints, out: Bools) -> bool:
        """With one of those it needs, where it has one or is nowhere yet."""
        found = False
        for group, apart, by_domain in self._rules.get(vm, ()):
            if apart:
                continue
            near = self._near(self._members.get(group, NOBODY), vm, host, by_domain)
            holds = near.any() if host[vm] == NOWHERE else near[host[vm]]
            if holds:
                out |= ~near
            found = True
        return found

    def _needed_by(self, vm: int, host: Ints, out: Bools) -> bool:
        """Not away from one that has nobody else of its group near."""
        here, found = int(host[vm]), False
        if here == NOWHERE:
            return False
        for group in self._groups.get(vm, ()):
            for by_domain in (False, True):
                holders = self._holders.get((group, False, by_domain))
                if holders is None:
                    continue
                found = True
                near = self._reach(here, by_domain)
                there = holders[(host[holders] != NOWHERE) & (holders != vm)]
                there = there[near[host[there]]]
                mates = self._members[group]
                mates = mates[host[mates] != NOWHERE]
                n_mates = int(near[host[mates]].sum()) - np.isin(there, mates).astype(np.intp)
                if (n_mates <= 1).any():
                    out |= ~near
        return found

    def _tenancy(self, vm: int, host: Ints, out: Bools) -> bool:
        if not len(self._alone):
            return False
        alone = self.company.alone
        assert alone is not None
        mine = self._tenant[vm]
        others = self._alone[self._tenant[self._alone] != mine]
        if alone[vm]:
            others = np.flatnonzero(self._tenant != mine)
        at = host[others]
        out[at[at != NOWHERE]] = True
        return True

    def _near(self, vms: Ints, but: int, host: Ints, by_domain: bool) -> Bools:
        """(H,) where one of `vms` is, or in its fault domain."""
        at = host[vms]
        at = at[(vms != but) & (at != NOWHERE)]
        if by_domain:
            return np.isin(self._domain, self._domain[at])
        out = np.zeros(len(self._domain), dtype=bool)
        out[at] = True
        return out

    def _reach(self, host: int, by_domain: bool) -> Bools:
        if by_domain:
            return np.asarray(self._domain == self._domain[host])
        return np.asarray(np.arange(len(self._domain)) == host)

    def _in_order(self) -> dict[int, list[int]]:
        """A host is left before it is entered, so who keeps to other hosts may move at any time.
        Where fault domains count, or who stays behind, the order of a plan has to be kept."""
        out: dict[int, list[int]] = defaultdict(list)
        for code, ((group, apart, by_domain), holders) in enumerate(self._holders.items()):
            if apart and not by_domain:
                continue
            for vm in np.union1d(holders, self._members.get(group, NOBODY)).tolist():
                out[vm].append(code)
        return dict(out)


def _by(keys: Ints, values: Ints) -> dict[int, Ints]:
    """The values of each key, each once."""
    if not len(keys):
        return {}
    pairs = np.unique(np.stack([keys, values]), axis=1)
    every, first = np.unique(pairs[0], return_index=True)
    return dict(zip(every.tolist(), np.split(pairs[1], first[1:]), strict=True))
