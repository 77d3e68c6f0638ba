"""When Python looks for garbage."""

from __future__ import annotations

import gc

from dripd.daemon.garbage import AT_START, THRESHOLDS, seldom, set_aside


def test_what_lives_is_set_aside_while_the_daemon_runs_and_no_longer() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    with seldom():
        at_start = gc.get_threshold()
        set_aside()
        within = gc.get_threshold(), gc.get_freeze_count() > before[1]
        looked_at = len(gc.get_objects())

    assert (at_start, *within) == (AT_START, THRESHOLDS, True)
    assert looked_at < len(gc.get_objects())
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before[0], 0)


def test_rings_of_what_came_later_are_found_all_the_same() -> None:
    class Ring:
        def __init__(self) -> None:
            self.own = self

    with seldom():
        set_aside()
        for _ in range(10):
            Ring()
        found = gc.collect()

    assert found >= 10
