"""What does a session answer itself? Views and tails, which live as long as it does, and plans.

They wrap another method: that one's role and arguments are judged as if it were called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from dripd.admin import params as p
from dripd.admin import wire
from dripd.admin.live import Live
from dripd.admin.mask import mask
from dripd.admin.messages import Call, Method, Table, decode, split
from dripd.admin.plans import Plans
from dripd.admin.roles import Role
from dripd.errors import BadRequest

OWN: Final = ("plan.make", "tail.close", "tail.open", "view.close", "view.open", "view.pace")

Judge: TypeAlias = Callable[[str, Mapping[str, object]], tuple[Call, Method, object]]
"""Whether and how the session's peer may call a method with these params."""


class Own:
    """The methods of `OWN` on one connection."""

    def __init__(self, live: Live, plans: Plans, views: Table, judge: Judge) -> None:
        self.live = live
        self._plans = plans
        self._views = views
        self._judge = judge

    async def answer(self, name: str, given: Mapping[str, object]) -> object:
        """The answer to a method of `OWN`. Raises `DripdError`."""
        match name:
            case "view.open":
                return await self._open_view(decode(p.ViewOpen, given))
            case "tail.open":
                tail: p.TailOpen = decode(p.TailOpen, given)
                return await self.live.open_tail(tail.of, tail.wanted, tail.past, tail.hz)
            case "view.pace":
                pace: p.Pace = decode(p.Pace, given)
                return {"ok": self.live.pace(pace.sub, pace.hz)}
            case "plan.make":
                return await self._plan(decode(p.PlanMake, given))
        closed: p.Subscribed = decode(p.Subscribed, given)
        return {"ok": self.live.close(closed.sub)}

    async def _open_view(self, wanted: p.ViewOpen) -> object:
        call, method, params = self._judge(wanted.of, wanted.params)
        if method.spec.mutating:
            raise BadRequest(f"{wanted.of} changes something; it is no view", path="of")
        asked = wire.dump([wanted.of, wanted.params])
        looking = self._views.get(wanted.of, method)
        return await self.live.open_view(looking, call, params, asked, wanted.hz)

    async def _plan(self, wanted: p.PlanMake) -> object:
        """Run a changing method dry and keep what it would touch."""
        given = {
            k: v for k, v in wanted.params.items() if k not in {"dry_run", "plan_id", "yes"}
        }
        call, method, params = self._judge(wanted.method, {**given, "dry_run": True})
        if not method.spec.mutating:
            raise BadRequest(f"{wanted.method} changes nothing", path="method")
        result = await method.handler(call, params)
        asked = wire.dump([wanted.method, split(given)[1]])
        dry = result if isinstance(result, Mapping) else {}
        plan = self._plans.make(call.uid, wanted.method, asked, dry)
        return wire.portable(mask(plan) if call.role is Role.VIEWER else plan)
