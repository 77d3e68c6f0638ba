"""A version is published while the daemon is killed over it."""

from __future__ import annotations

import pytest

from dripd.proof import migrating


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.feature("D3")
def test_runs_stand_on_one_version_whenever_the_daemon_dies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(migrating, "FIRST_KILL_S", 0.04)
    told: list[str] = []
    result = migrating.run(200, told.append)

    assert result["ok"], result
    assert (result["torn"], result["odd"], result["lost"]) == (0, 0, 0)
