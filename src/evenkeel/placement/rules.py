"""Who may stand beside whom: members of groups by host, and the rules of those who are there.

Rules bind both sides: who must stay apart from a group is not joined by one of that group either.
Each question costs as much as there are hosts with members of the group.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from evenkeel.domain.arrays import Bools, Ints
from evenkeel.domain.ids import HostId, TenantId
from evenkeel.domain.placement import Group, Newcomer, PlacementInvalid, Relation, Rule, Scope

K = TypeVar("K")
NOBODY_BARRED: Final = np.zeros(0, dtype=bool)
NONE_ALONE: Final = -1


class HostNotKnown(PlacementInvalid):
    code = "unknown_host"
    http_status = 404
    default_hint = "`evenkeel hosts` lists them."


@dataclass(frozen=True, slots=True, eq=False)
class Bar:
    """Hosts (H,) that one rule closes to a newcomer, and the rule in words."""

    code: str
    text: str
    hosts: Bools


class Neighbours:
    """Who is where, as far as rules ask. Not thread-safe."""

    def __init__(self, host_ids: Iterable[HostId], fault_domain: Ints) -> None:
        self._place = {host: i for i, host in enumerate(host_ids)}
        codes, self._domain = np.unique(fault_domain, return_inverse=True)
        self._n_domains = len(codes)
        self._members: dict[Group, Counter[int]] = defaultdict(Counter)
        self._in_domain: dict[Group, Counter[int]] = defaultdict(Counter)
        self._apart: dict[tuple[Group, Scope], Counter[int]] = defaultdict(Counter)
        self._codes: dict[TenantId, int] = {}
        self._alone = np.full(len(self._domain), NONE_ALONE)
        self._n_alone: Counter[int] = Counter()
        self._n_vms = np.zeros(len(self._domain), dtype=np.intp)

    def put(self, host: int, vm: Newcomer, sign: int = 1) -> None:
        """One more there, or one less with sign -1."""
        self._n_vms[host] += sign
        for group in vm.groups():
            _count(self._members, group, host, sign)
            _count(self._in_domain, group, int(self._domain[host]), sign)
        for rule in vm.rules:
            if rule.relation is Relation.APART:
                _count(self._apart, (rule.group, rule.scope), host, sign)
        if vm.alone:
            self._n_alone[host] += sign
            here = self._code(vm.tenant) if self._n_alone[host] > 0 else NONE_ALONE
            self._alone[host] = here

    def barred(self, vm: Newcomer) -> Bools:
        """(H,) where it must not go; of length 0 where that is nowhere. Raises HostNotKnown."""
        out = NOBODY_BARRED
        for bar in self.bars(vm):
            out = bar.hosts if not len(out) else out | bar.hosts
        return out

    def bars(self, vm: Newcomer) -> list[Bar]:
        """Rule by rule, those that close any host. Raises HostNotKnown."""
        out = []
        for rule in vm.rules:
            if rule.relation is Relation.APART:
                out.append(Bar("apart", f"must be {rule}", self._reach(rule.group, rule.scope)))
            elif self._binds(rule, vm):
                there = self._reach(rule.group, rule.scope)
                out.append(Bar("together", f"must be {rule}", ~there))
        for group in vm.groups():
            for scope in Scope:
                hosts = self._apart.get((group, scope))
                if hosts:
                    kept = self._spread(hosts, scope)
                    out.append(Bar("kept_apart", f"a VM there stands apart from {group}", kept))
        out += self._tenancy(vm)
        if vm.only:
            listed = self._listed(vm.only)
            out.append(Bar("not_listed", "not one of the hosts that were asked for", ~listed))
        if vm.never:
            out.append(Bar("ruled_out", "ruled out by the request", self._listed(vm.never)))
        return [bar for bar in out if bar.hosts.any()]

    def _tenancy(self, vm: Newcomer) -> list[Bar]:
        out = []
        if self._n_alone:
            mine = self._code(vm.tenant)
            taken = (self._alone != NONE_ALONE) & (self._alone != mine)
            out.append(Bar("kept_alone", "taken by another tenant alone", taken))
        if vm.alone:
            others = self._n_vms.copy()
            for host, n in self._members.get(Group(vm.tenant), Counter()).items():
                others[host] -= n
            out.append(Bar("alone", "VMs of other tenants are there", others > 0))
        return out

    def crowd(self, vm: Newcomer, hosts: Ints) -> Ints:
        """How many of the newcomer's kind (its labels, else its tenant) are in each of these hosts'
        fault domains, those on the host counted twice: fewer is a better spread."""
        groups = vm.groups()[1:] or vm.groups()
        out = np.zeros(len(hosts), dtype=np.intp)
        for group in groups:
            here, near = self._members.get(group), self._in_domain.get(group)
            if here and near:
                for i, h in enumerate(hosts.tolist()):
                    out[i] += near.get(int(self._domain[h]), 0) + here.get(h, 0)
        return out

    def _binds(self, rule: Rule, vm: Newcomer) -> bool:
        """The first of a group that stays together may go anywhere."""
        return bool(self._members.get(rule.group)) or rule.group not in vm.groups()

    def _reach(self, group: Group, scope: Scope) -> Bools:
        return self._spread(self._members.get(group, Counter()), scope)

    def _spread(self, members: Counter[int], scope: Scope) -> Bools:
        out = np.zeros(len(self._domain), dtype=bool)
        hosts = np.fromiter(members, dtype=np.intp, count=len(members))
        if scope is Scope.HOST:
            out[hosts] = True
            return out
        domains = np.zeros(self._n_domains, dtype=bool)
        domains[self._domain[hosts]] = True
        return np.asarray(domains[self._domain])

    def _listed(self, hosts: frozenset[HostId]) -> Bools:
        out = np.zeros(len(self._domain), dtype=bool)
        for host in hosts:
            if host not in self._place:
                raise HostNotKnown(f"host {host!r} is not in the fleet")
            out[self._place[host]] = True
        return out

    def _code(self, tenant: TenantId) -> int:
        return self._codes.setdefault(tenant, len(self._codes))


def _count(counts: dict[K, Counter[int]], key: K, host: int, sign: int) -> None:
    of = counts[key]
    of[host] += sign
    if of[host] <= 0:
        del of[host]
        if not of:
            del counts[key]
