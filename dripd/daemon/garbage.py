"""When does Python look for garbage? Seldom: a daemon makes hardly any that counting does not find.

Each full collection walks everything that lives - accounts, compiled versions, modules - and
stops every sender meanwhile (88 ms at 1,000 accounts), and the usual thresholds ask for one
every few thousand steps. What stands once a daemon knows its accounts is therefore set aside,
and the rest is looked at a thousand times less often. Until then nearly all that is made stays,
so that looking at it is in vain: a tenth of a second for each thousand accounts.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)
"""Objects made and not yet freed until the youngest are looked at (half a millisecond), such
looks until the middle ones are, and such until all are: some four million steps."""

AT_START: Final = (500_000, 20, 50)
"""The same until what stands is set aside: no look at all for the first 2,000 accounts."""


@contextmanager
def seldom() -> Iterator[None]:
    """Look for garbage by `AT_START`, from `set_aside` on by `THRESHOLDS`; after it all is as it
    was."""
    before = gc.get_threshold()
    gc.set_threshold(*AT_START)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def set_aside() -> None:
    """What lives now is not looked at again. No collection before it: a start must be quick."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
