"""What does the desk ask of the engine's rules? The next step of a run, and its lane."""

from __future__ import annotations

from dripd.campaigns.enrollment import Change, LaneKey, Leased
from dripd.campaigns.event import Skipped
from dripd.clock import Instant
from dripd.engine.directory import Directory
from dripd.policy.advance import advance


class DeskJudge:
    """What the desk asks of the engine's rules; `store.desk_run.Judge`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def skipped(self, leased: Leased, now: Instant) -> Change:
        version = self._directory.version(leased.cv_id)
        return advance(leased, version, Skipped(reason="cancelled"), now, self._directory)

    def lane(self, leased: Leased) -> LaneKey:
        version = self._directory.version(leased.cv_id)
        return version.lane_key(
            leased.step_no, leased.timezone, self._directory.zones, leased.flags
        )
