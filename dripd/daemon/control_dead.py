"""What failed for good, over the socket: what there is, another try, the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.daemon.control_room import Room
from dripd.store.desk_dead import dead_versions, discard_dead, list_dead, retry_dead
from dripd.store.desk_deed import Result


class DeadControl:
    """The handlers of `dead.*`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "dead.list": self.list,
            "dead.retry": self.retry,
            "dead.discard": self._room.changing(discard_dead),
        }

    async def list(self, _call: Call, args: p.DeadList) -> Result:
        """With how many a second may leave, so that one sees how long a retry will take."""
        found = await self._room.desk.run(list_dead, args)
        items: Any = found["items"]
        most = self._room.hooks.most_per_s
        return {
            **found,
            "items": [{**row, "per_s": most(row["account_id"])} for row in items],
        }

    async def retry(self, call: Call, args: p.DeadRetry) -> Result:
        cv_ids = await self._room.desk.run(dead_versions, args)
        judge = await self._room.hooks.judge(cv_ids)
        return await self._room.perform(retry_dead, call, args, judge)
