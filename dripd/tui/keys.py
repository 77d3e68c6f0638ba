"""Which key does what? As the console has it, or as the operator's own file has it.

`[keys]` of `console.toml` in `$XDG_CONFIG_HOME/dripd` (`~/.config/dripd`) moves keys: on the
left the key of this console's help, on the right the one to press instead. A key that was moved
does nothing any more unless something else was moved there. Two things on one key are refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dripd.errors import ConfigError, Fault

FIXED: Final = frozenset(
    {"enter", "escape", "up", "down", "pageup", "pagedown", "home", "end", "ctrl+c", "ctrl+q"}
)
"""Never moved: whatever a file says, one can move, go back and leave."""

KEYS: Final = frozenset("0123456789LjkgGnNyYMTDKPRSUacdefilmpqrstuvwxzo/:?!.<>-+_=") | {
    "tab", "space", "backspace", "ctrl+p", "ctrl+w", "ctrl+d", "ctrl+u", "ctrl+r",
}  # fmt: skip
"""Every key that means something on some screen and may be moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """`moved`: the console's key to the operator's."""

    moved: Mapping[str, str] = field(default_factory=dict)

    def meant(self, pressed: str) -> str:
        """The console's key for what was pressed; "" where it has none any more."""
        for ours, yours in self.moved.items():
            if yours == pressed:
                return ours
        return "" if pressed in self.moved else pressed

    def shown(self, ours: str) -> str:
        """The key to press for the console's."""
        return self.moved.get(ours, ours)


def path_of(environment: Mapping[str, str]) -> Path:
    """Where an operator's own file would be."""
    base = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '')}/.config"
    return Path(base) / "dripd" / "console.toml"


def load(environment: Mapping[str, str]) -> Keys:
    """The keys of the operator's file; the console's own without one. Raises `ConfigError`."""
    path = path_of(environment)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Keys()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}", hint='[keys]\n"p" = "ctrl+s"') from error
    if faults := _faults(document):
        told = "; ".join(f"{fault.path}: {fault.message}" for fault in faults)
        raise ConfigError(
            f"{path}: {told}", faults=tuple(faults), hint="`?` in the console tells every key"
        )
    return Keys(moved=dict(document.get("keys", {})))


def _faults(document: Mapping[str, object]) -> list[Fault]:
    """Everything that is wrong with the file."""
    found = [_fault(name, "there is only [keys]") for name in document if name != "keys"]
    table = document.get("keys", {})
    if not isinstance(table, dict):
        return [*found, _fault("keys", "must be a table")]
    taken: dict[str, str] = {}
    for ours, yours in table.items():
        place = f"keys.{ours}"
        if ours not in KEYS:
            found.append(_fault(place, "no key of the console, or one that stays where it is"))
        elif not isinstance(yours, str) or not yours or yours in FIXED:
            found.append(_fault(place, f"{yours!r} cannot be given to anything"))
        elif yours in taken:
            found.append(_fault(place, f"{yours!r} is the key of {taken[yours]!r} already"))
        elif yours in KEYS and yours not in table:
            found.append(_fault(place, f"{yours!r} has a meaning of its own: move that too"))
        else:
            taken[yours] = ours
    return found


def _fault(place: str, message: str) -> Fault:
    return Fault(code="bad_value", path=place, message=message)
