"""Whatever is done in whatever order: the store agrees with a model of twenty lines."""

from __future__ import annotations

import random

import pytest

from tests.store.twin import ACTS, CAP, play
from tests.store.world import World, open_scene

WEIGHTS = (3, 5, 5, 2, 2, 1, 2)


@pytest.mark.trio
class ModelSuite:
    @pytest.mark.parametrize("seed", [1, 2])
    async def test_a_long_history_agrees_with_the_model(self, world: World, seed: int) -> None:
        dice = random.Random(seed)
        acts = [
            (name, dice.randrange(100), dice.randrange(100))
            for name in dice.choices(ACTS, WEIGHTS, k=80)
        ]

        await play(await open_scene(world, cap=CAP), acts)
