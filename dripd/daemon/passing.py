"""How do runs that were in flight when a version was published pass to it, whoever is gone since?

Who published moves them while it waits for its answer. What takes longer, or is left because
that daemon died, stands in the database: every daemon looks for it now and then.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from dripd.campaigns.migration import Migration
from dripd.campaigns.version import Version
from dripd.engine.calendars import known_zones
from dripd.engine.directory import Directory
from dripd.errors import StoreError
from dripd.log import get
from dripd.store.desk import Desk
from dripd.store.desk_deed import Row
from dripd.store.desk_file import list_following, migrate_rest

LOOK_S, MOST_S = 2.0, 60.0
"""Between two looks; twice as long after each that leaves some, for it reads every live run."""

log = get("passing")


def migration_to(version: Version, given: Mapping[str, str]) -> Migration:
    """How live runs pass to *version* by the map that was *given*."""
    zones = known_zones()
    return Migration(
        definition=version.definition,
        map=dict(given),
        lane=lambda step_no, zone, flags: version.lane_key(step_no, zone, zones, flags),
    )


async def pass_on(directory: Directory, desk: Desk) -> None:
    """Let runs follow to the versions that they are to pass to, for ever."""
    pause_s = LOOK_S
    while True:
        await trio.sleep(pause_s)  # noqa: TID251 - a poll in real time
        left = 0
        try:
            for row in await desk.run(list_following):
                left += await _pass_on(directory, desk, row)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
        pause_s = min(2 * pause_s, MOST_S) if left else LOOK_S


async def _pass_on(directory: Directory, desk: Desk, row: Row) -> int:
    """Those of one campaign; how many are left."""
    cv_id = row["live_cv_id"]
    await directory.load_versions([cv_id])
    if cv_id in directory.broken:  # another daemon may be able to read it
        return 0
    migration = migration_to(directory.version(cv_id), row["following"])
    where = (row["account_id"], row["id"], row["live_version"])
    left, refused = await desk.run_wide(migrate_rest, *where, migration)
    if refused is not None:
        log.warning("version.not_followed", campaign=row["key"], reason=refused.code)
    return left
