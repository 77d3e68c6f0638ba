"""Which daemon serves an account, as the daemons at work stand."""

from __future__ import annotations

import pytest

from dripd.engine.ownership import owner_of, server_of


@pytest.mark.parametrize("account", range(20))
def test_every_daemon_at_work_names_the_same_server(account: int) -> None:
    alive = {1, 2, 3}

    found = {server_of(account, alive, own, drained=False) for own in alive}
    assert found == {owner_of(account, [1, 2, 3])}


@pytest.mark.parametrize("account", range(20))
def test_a_drained_daemon_serves_nothing_unless_nobody_else_does(account: int) -> None:
    assert server_of(account, {1, 2}, 1, drained=True) == 2
    assert server_of(account, {1}, 1, drained=True) == 1


def test_before_it_knows_of_anybody_a_daemon_serves_all() -> None:
    assert server_of(7, frozenset(), 1, drained=False) == 1
