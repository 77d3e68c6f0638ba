"""How is a long answer made ready without keeping others waiting? A slice of its rows at a time.

Masking and checking a hundred rows takes some milliseconds of Python; between two slices every
other task of the loop has its turn, a send before all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import trio

ROWS: Final = 10
"""Rows of a slice: about 0.1 ms."""


async def in_slices(answer: object, work: Callable[[object], object]) -> object:
    """`work(answer)`, for a *work* that treats every value of a mapping and of a list by itself.

    What it took to find the answer is a slice of its own.
    """
    await trio.lowlevel.cancel_shielded_checkpoint()
    return await of_rows(answer, work) if isinstance(answer, Mapping) else work(answer)


async def of_rows(
    answer: Mapping[str, object], work: Callable[[object], object]
) -> dict[str, object]:
    """As `in_slices`, of a mapping."""
    found: dict[str, object] = {}
    for key, value in answer.items():
        if isinstance(value, list) and len(value) > ROWS:
            found[key] = await _sliced(key, value, work)
        else:
            found |= _of(work({key: value}))
    return found


async def _sliced(key: str, rows: list[object], work: Callable[[object], object]) -> object:
    done: list[object] = []
    for at in range(0, len(rows), ROWS):
        part = _of(work({key: rows[at : at + ROWS]}))[key]
        if not isinstance(part, list):
            return part  # the whole of it is masked
        done += part
        await trio.lowlevel.cancel_shielded_checkpoint()
    return done


def _of(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no mapping any more")
    return value
