"""How is a console to be? What was said when it was started."""

from __future__ import annotations

from dataclasses import dataclass, field

from dripd.tui.keys import Keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the console was started."""

    screen: str = "overview"
    filter: str = ""
    read_only: bool = False
    low_bandwidth: bool = False
    theme: str = "terminal"
    keys: Keys = field(default_factory=Keys)
