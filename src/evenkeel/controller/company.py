"""Terms on which VMs were placed, as rules for planners of moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evenkeel.domain.ids import HostId
from evenkeel.domain.placement import Relation, Scope, Terms
from evenkeel.placement.company import Company


def company_of(terms: Sequence[Terms], hosts: Sequence[HostId]) -> Company | None:
    """Of VMs (V,) on these terms and hosts (H,) in order; None: there is no rule."""
    if all(of.is_plain for of in terms):
        return None
    wanted = {rule.group for of in terms for rule in of.rules}
    codes = {group: code for code, group in enumerate(sorted(wanted, key=str))}
    members = [
        (vm, codes[group]) for vm, of in enumerate(terms) for group in of.groups() if group in codes
    ]
    rules = [
        (vm, codes[r.group], r.relation is Relation.APART, r.scope is Scope.FAULT_DOMAIN)
        for vm, of in enumerate(terms)
        for r in of.rules
    ]
    member, group = np.array(members, dtype=np.intp).reshape(-1, 2).T
    vm, named, apart, by_domain = np.array(rules, dtype=np.intp).reshape(-1, 4).T
    ids = list(hosts)
    barred = {
        vm: np.array([host in of.never or bool(of.only and host not in of.only) for host in ids])
        for vm, of in enumerate(terms)
        if of.only or of.never
    }
    return Company(
        member=member,
        group=group,
        vm=vm,
        of=named,
        apart=apart.astype(bool),
        by_domain=by_domain.astype(bool),
        alone=np.array([of.alone for of in terms], dtype=bool),
        barred=barred,
    )
