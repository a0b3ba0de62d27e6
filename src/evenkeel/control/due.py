"""When a host's next decision is due, as long as nothing changes on it. Pure."""

from __future__ import annotations

import math

from evenkeel.control.view import Patience, View
from evenkeel.domain.plan import Extend, MitigationState, Plan


def due_s(view: View, plan: Plan, before: Patience, after: Patience) -> float:
    """Wall time of the next decision if VMs go on wanting and getting what they do.

    `plan` and the patience `after` it are what `decide` answered to `view` and `before`. It is now
    while anything is under way: a step, a pair or a calm that is being counted, a mitigation whose
    effect is to be judged, experiments. Else the next expiry or end of a cooldown; infinite where
    there is none.
    """
    extended = {s.mitigation_id: s.expires_at_s for s in plan.steps if isinstance(s, Extend)}
    counting = any(
        before.above.get(pair, 0) < n < view.policy.hold_ticks for pair, n in after.above.items()
    )
    judging = any(m.state is not MitigationState.VERIFIED for m in view.open_now)
    stepping = len(extended) < len(plan.steps)
    if view.policy.probe or stepping or judging or counting or any(after.calm.values()):
        return view.now_s
    ends = [extended.get(m.id, m.expires_at_s) for m in view.open_now]
    return min([*ends, *after.cooldown_until_s.values()], default=math.inf)
