"""The proof bites: each known mistake, made on purpose in the running code, is found."""

from __future__ import annotations

import pytest

from dripd.proof.defects import DEFECTS, Defect, hunt
from dripd.proof.simulate import simulate

pytestmark = pytest.mark.interpreted

SEEDS = {"rescue_by_id": range(80, 400), "migrated_by_number": range(200, 400)}
"""Where the hunt begins for what is rare; from the first seed otherwise."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("defect", DEFECTS, ids=[one.name for one in DEFECTS])
def test_a_seeded_defect_is_found(defect: Defect) -> None:
    found = hunt(defect, SEEDS.get(defect.name, range(1, 301)))

    assert found is not None, f"{defect.about}: it escapes"
    seed, _ = found
    _, broken = simulate(seed, defect.focus)  # the same story without it

    assert not any(broken.values())


def test_the_catalogue_names_each_once() -> None:
    assert 19 == len(DEFECTS) == len({one.name for one in DEFECTS})
