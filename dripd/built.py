"""How was this dripd built? What a step passes through may have been compiled to C (`make compiled`)."""

from __future__ import annotations

from typing import Final

from dripd import ring

IS_COMPILED: Final = not str(ring.__file__).endswith(".py")
"""By mypyc, from the same Python: nothing can be put in the place of a compiled function, and a
value of another type than is declared is a `TypeError`."""
