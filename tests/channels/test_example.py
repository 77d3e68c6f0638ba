"""The worked example of docs/providers.md does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dripd.campaigns.event import Accepted, Rejected
from dripd.channels.base import ProviderSettings, Resources
from dripd.channels.registry import GROUP, KINDS, build
from dripd.clock import SystemClock
from tests.channels.contract import Bench, Outcomes

DOCS = Path(__file__).parents[2] / "docs" / "providers.md"


def install(where: Path) -> None:
    """The example as pip would leave it: its module, and its entry point."""
    text = DOCS.read_text()
    (where / "spool_channel.py").write_text(
        re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    )
    entry = re.findall(r'spool = "(.*?)"', text)[0]
    info = where / "spool_channel-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spool-channel\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nspool = {entry}\n")


@pytest.mark.trio
async def test_example_is_a_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = ProviderSettings(name="it", kind="spool", options={"folder": str(tmp_path)})
    channel = build(settings, Resources(clock=SystemClock()))
    bench = Bench(channel=channel, address=lambda f, i: f"{f}-{i}@x.example", received=list)
    good, bad = bench.message("accepted", 1), bench.message("accepted", 2, subject="a\nb")
    settle = Outcomes()
    await channel.send([good, bad], settle)

    assert Accepted(provider_id="dripd_test_1_1_hello") == settle[good]
    assert Rejected(reason="malformed") == settle[bad]
    (mail,) = list(tmp_path.glob("*.eml"))  # noqa: ASYNC240 - a local file
    assert b"To: accepted-1@x.example\r\n" in mail.read_bytes()


def test_every_kind_is_in_the_table() -> None:
    text = DOCS.read_text()

    assert set(KINDS) == {kind for kind in KINDS if f"| `{kind}` |" in text}
