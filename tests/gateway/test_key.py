"""The key that signs links: one for a state directory, readable by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dripd.channels.base import Secret
from dripd.errors import ConfigError
from dripd.gateway.key import FILE, load_key


def test_a_key_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = load_key(None, state)

    assert first == load_key(None, state)
    assert 64 == len(first.reveal())
    assert 0o600 == (state / FILE).stat().st_mode & 0o777
    assert [FILE] == [path.name for path in state.iterdir()]


def test_a_configured_secret_is_the_key(tmp_path: Path) -> None:
    secret = Secret("s" * 24)

    assert secret is load_key(secret, tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_a_state_directory_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be read or made"):
        load_key(None, tmp_path / "file")
