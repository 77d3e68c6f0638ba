from __future__ import annotations

from pathlib import Path

import pytest

from dripd.channels.base import ProviderSettings, Resources, Secret
from dripd.channels.registry import GROUP, KINDS, build, kinds
from dripd.clock import SystemClock
from dripd.errors import ConfigError

RESOURCES = Resources(clock=SystemClock())

ADAPTER = """
from dripd.channels.base import NO_REPEATS

class Pigeon:
    name, kinds, batch, concurrency = "it", frozenset({"sms"}), 1, 1
    repeats = NO_REPEATS
    async def send(self, messages, settle): ...
    async def aclose(self): ...

def create(settings, resources):
    return Pigeon()
"""


def install(where: Path, kind: str, target: str) -> None:
    """A distribution as pip would leave it."""
    (where / "pigeon_post.py").write_text(ADAPTER)
    info = where / "pigeon_post-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon-post\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{kind} = {target}\n")


def provider(kind: str, **options: object) -> ProviderSettings:
    return ProviderSettings(name="it", kind=kind, options=options)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_the_table_has_a_factory(kind: str) -> None:
    """Each knows its options: here it is given one that none has."""
    with pytest.raises(ConfigError) as caught:
        build(provider(kind, wings=2), RESOURCES)

    (fault,) = caught.value.faults
    assert ("unknown_option", "provider.it.wings") == (fault.code, fault.path)


def test_every_adapter_is_in_the_table() -> None:
    folder = Path(__file__).parents[2] / "dripd" / "channels"
    adapters = {path.stem for path in folder.glob("*.py") if "def create(" in path.read_text()}

    assert adapters == set(KINDS)


def test_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        build(provider("sendgird"), RESOURCES)

    (fault,) = caught.value.faults
    assert ("provider.it.kind", "did you mean 'sendgrid'?") == (fault.path, fault.hint)


def test_third_party_adds_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "pigeon", "pigeon_post:create")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "pigeon" in kinds()
    assert frozenset({"sms"}) == build(provider("pigeon"), RESOURCES).kinds


def test_third_party_takes_no_kind_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "sink", "pigeon_post:create")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "sms" in build(provider("sink", record=False), RESOURCES).kinds
    assert "email" in build(provider("sink", record=False), RESOURCES).kinds


@pytest.mark.parametrize("target", ["no_such_module:create", "pigeon_post:no_such_name"])
def test_adapter_that_cannot_be_loaded_is_a_fault_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    install(tmp_path, "pigeon", target)
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        build(provider("pigeon"), RESOURCES)

    assert "provider.it.kind" == caught.value.faults[0].path


def test_secret_shows_itself_to_nobody() -> None:
    secret = Secret("hunter2")
    settings = ProviderSettings(name="it", kind="smtp", secrets={"password": secret})

    assert "hunter2" not in f"{secret} {secret!r} {settings}"
    assert "hunter2" == secret.reveal()
    assert secret == Secret("hunter2") != Secret("other")
    assert not Secret("")
