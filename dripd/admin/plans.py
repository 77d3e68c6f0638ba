"""What did somebody see before they said yes? Plans: dry runs that a wide action is bound to.

A plan holds what was asked and the digest of what it would touch. Applied within 120 seconds,
by the same user, with the same arguments, it goes through only if the action touches exactly
that. The comparison itself stands in the action's transaction (`dripd.store.desk_deed`).
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import trio

from dripd.admin.messages import Promise
from dripd.errors import Conflict

LIFE_S: Final = 120
MOST_PLANS: Final = 256
"""More push out the oldest."""

SAMPLE: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A dry run: who asked for what, and what it would have touched."""

    uid: int
    method: str
    asked: bytes
    promise: Promise
    until: float


class Plans:
    """The plans of the last 120 seconds. In memory: a plan dies with its daemon."""

    def __init__(self) -> None:
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def make(
        self, uid: int, method: str, asked: bytes, result: Mapping[str, object]
    ) -> dict[str, object]:
        """Keep what a dry run answered; returns what the client is told of it."""
        meant = result.get("set")
        n, found = _read(meant)
        plan_id = secrets.token_hex(8)
        self._plans[plan_id] = Plan(
            uid=uid,
            method=method,
            asked=asked,
            promise=Promise(n=n, digest=found),
            until=trio.current_time() + LIFE_S,
        )
        while len(self._plans) > MOST_PLANS:
            self._plans.popitem(last=False)
        items = result.get("items")
        return {
            "plan_id": plan_id,
            "method": method,
            "n": n,
            "digest": found,
            "sample": items[:SAMPLE] if isinstance(items, list) else [],
            "expires_in_s": LIFE_S,
            "would": {k: v for k, v in result.items() if k not in {"items", "set"}},
        }

    def redeem(self, plan_id: str, uid: int, method: str, asked: bytes) -> Promise:
        """What the plan promised. Raises `Conflict` if it is not there, or is another's."""
        plan = self._plans.get(plan_id)
        if plan is None or plan.until < trio.current_time() or plan.uid != uid:
            raise Conflict(
                "the plan has expired, or was never made",
                code="plan_expired",
                hint=f"a plan holds for {LIFE_S} s and for who made it: make a new one",
            )
        if (plan.method, plan.asked) != (method, asked):
            raise Conflict(
                f"the plan was made for another call of {plan.method}",
                code="plan_other",
                hint="make a plan with these arguments",
            )
        return plan.promise


def _read(meant: object) -> tuple[int, str]:
    match meant:
        case {"n": int() as n, "digest": str() as found}:
            return n, found
    return 0, ""
