"""What is promised of waiting runs, asked of a few."""

from __future__ import annotations

import pytest

from dripd.proof import foretell


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.feature("D6")
def test_every_waiting_run_goes_at_the_instant_that_it_was_told() -> None:
    told: list[str] = []
    result = foretell.run(30, 7, told.append)

    assert result["ok"], result
    assert (result["rows"], result["right"]) == (30, 30)
