"""An operator's own keys: moved, shown, and refused where two things would be on one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dripd.errors import ConfigError
from dripd.tui.help import EVERYWHERE
from dripd.tui.keys import FIXED, KEYS, Keys, load
from dripd.tui.options import Options
from dripd.tui.pages import PAGES
from tests.tui.fake import Rig


def loaded(folder: Path, text: str) -> Keys:
    (folder / "dripd").mkdir(exist_ok=True)
    (folder / "dripd" / "console.toml").write_text(text)
    return load({"XDG_CONFIG_HOME": str(folder)})


def test_without_a_file_keys_are_the_consoles_own(tmp_path: Path) -> None:
    keys = load({"HOME": str(tmp_path)})

    assert (keys.meant("p"), keys.shown("p")) == ("p", "p")


def test_keys_may_change_places(tmp_path: Path) -> None:
    keys = loaded(tmp_path, '[keys]\nj = "k"\nk = "j"\n"ctrl+w" = "f5"\n')

    assert [keys.meant(one) for one in ("j", "k", "f5", "ctrl+w")] == ["k", "j", "ctrl+w", ""]
    assert keys.shown("ctrl+w") == "f5"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('[keys]\np = "b"\nx = "b"', "keys.x", "'b' is the key of 'p' already"),
        ('[keys]\np = "x"', "keys.p", "'x' has a meaning of its own"),
        ('[keys]\np = "ctrl+c"', "keys.p", "cannot be given"),
        ("[keys]\np = 1", "keys.p", "cannot be given"),
        ('[keys]\n"ctrl+q" = "b"', "keys.ctrl+q", "stays where it is"),
        ('[colours]\nok = "red"', "colours", "there is only [keys]"),
        ("keys = 1", "keys", "must be a table"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, text: str, place: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=r"console\.toml") as refused:
        loaded(tmp_path, text)

    assert [fault.path for fault in refused.value.faults] == [place]
    assert says in refused.value.faults[0].message


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"console\.toml"):
        loaded(tmp_path, "[keys")


def test_every_key_of_every_screen_can_be_moved() -> None:
    used = {page.digit for page in PAGES.values()}
    for name in PAGES:
        rig = Rig()
        rig.console.go(name)
        for press in ((), ("tab",), ("a",) if name == "events" else ()):
            rig.press(*press)
            used |= {action.key for action in rig.console.page.actions()}
    named = {key for keys, _ in EVERYWHERE for key in keys.replace(",", " ").split()}
    used |= {key for key in named if len(key) == 1 or key.startswith("ctrl+")}

    assert used <= KEYS | FIXED
    assert KEYS & FIXED == set()


def test_moved_keys_act_and_are_shown() -> None:
    keys = Keys(moved={"p": "b", "ctrl+w": "f5"})
    rig = Rig(options=Options(keys=keys))
    rig.press("2", "f5", "p")
    assert rig.changed == [], "p does nothing any more"
    rig.now += 10
    assert "b pause" in rig.footer
    assert "b" in rig.press("?").split("pause")[0]
    rig.press("escape", "b")

    assert [method for method, _ in rig.changed] == ["account.pause"]
