"""The campaigns that come with dripd are sound, and lack nothing but what an account has."""

from __future__ import annotations

from pathlib import Path

import pytest

from dripd import campaigns
from dripd.campaigns.document import load_documents
from dripd.campaigns.lack import is_setting
from dripd.campaigns.presets import PRESETS
from dripd.campaigns.validate import check
from dripd.daemon.control_library import find_item, library
from dripd.errors import NotFound

FILES = sorted((Path(campaigns.__file__).parent / "library").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_item_is_sound(path: Path) -> None:
    (raw,) = load_documents(path.read_text(encoding="utf-8"), filename=path.name)
    _, report = check(raw, account="acme")

    assert raw["campaign"] == path.stem
    assert [fault for fault in report.faults if not is_setting(fault.code)] == []
    assert report.warnings == ()
    assert "account" not in raw


def test_there_is_one_for_every_preset_and_eight_at_least() -> None:
    items = library().values()

    assert len(items) >= 8
    assert {item.raw.get("preset") for item in items} >= set(PRESETS)
    assert all(len(item.description) > 40 for item in items)


def test_an_unknown_item_is_refused_with_the_nearest() -> None:
    with pytest.raises(NotFound) as refusal:
        find_item("trail")

    assert "trial" in refusal.value.hint
