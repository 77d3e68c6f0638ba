"""How much may leave a second, by every rate that is set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dripd.engine.directory import Account
from dripd.engine.limit import AT_ONCE, Limit, most_of, most_per_s, sender_most
from dripd.ratelimit.limits import Line
from dripd.store.protocol import AccountRow, SenderRow


def account(n: int, rate: str | None, *senders: tuple[str, str | None, str]) -> Account:
    rows = [
        SenderRow(k, n, f"s{k}@a.test", "email", provider, each, None, status)
        for k, (provider, each, status) in enumerate(senders)
    ]
    return Account(
        AccountRow(n, f"a{n}", "UTC", None, None, rate, "active", True, None, senders=rows)
    )


def limit_of(*accounts: Account, **providers: str) -> Limit:
    return Limit(pipe_of(*accounts, **providers))


def pipe_of(*accounts: Account, **providers: str) -> Any:
    return SimpleNamespace(
        owned={one.row.id for one in accounts},
        directory=SimpleNamespace(accounts={one.row.id: one for one in accounts}),
        flow=SimpleNamespace(providers={name: Line(rate) for name, rate in providers.items()}),
    )


@pytest.mark.parametrize(
    ("rate", "senders", "expected"),
    [
        (None, [("p", "10/s", "active"), ("p", "60/min", "active")], {"p": 11.0}),
        (None, [("p", "10/s", "active"), ("p", "5/s", "paused")], {"p": 10.0}),
        ("4/s", [("p", "10/s", "active")], {"p": 4.0}),
        ("4/s", [("p", "6/s", "active"), ("q", "2/s", "active")], {"p": 3.0, "q": 1.0}),
        ("4/s", [("p", None, "active"), ("q", "2/s", "active")], {"p": 4.0}),
        ("4/s", [], {}),
    ],
)
def test_an_account_is_bounded_by_its_own_rate_and_its_senders(
    rate: str | None,
    senders: list[tuple[str, str | None, str]],
    expected: dict[str, float],
) -> None:
    assert expected == most_per_s(account(1, rate, *senders))


def test_a_provider_bounds_all_that_leave_through_it() -> None:
    one = account(1, None, ("p", "10/s", "active"))
    other = account(2, None, ("p", "10/s", "active"), ("q", "1/s", "active"))
    limit = limit_of(one, other, p="15/s", q="")

    limit.look()

    assert limit.per_s == 16.0


def test_what_has_no_rate_has_no_limit() -> None:
    limit = limit_of(account(1, None, ("p", None, "active")), p="")

    limit.look()

    assert limit.per_s is None


def test_a_pass_goes_on_where_it_stopped() -> None:
    many = [account(n, "1/s", ("p", None, "active")) for n in range(AT_ONCE + 5)]
    limit = limit_of(*many, p="")

    limit.look()
    assert limit.per_s is None
    limit.look()

    assert limit.per_s == AT_ONCE + 5


@pytest.mark.parametrize("rate", ["1/h", "100/d", "10/s"])
def test_one_account_alone_has_the_same_limit_as_all_of_them(rate: str) -> None:
    one = account(1, None, ("p", None, "active"))
    limit = limit_of(one, p=rate)

    limit.look()

    assert limit.per_s == most_of(pipe_of(one, p=rate), 1)


def test_of_what_is_served_elsewhere_no_limit_is_told() -> None:
    one = account(1, "1/h", ("p", None, "active"))
    pipe = pipe_of(one, p="")
    pipe.owned.clear()

    assert most_of(pipe, 1) is None


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, None),
        ({"rate": "10/s"}, 10.0),
        ({"rate": "10/s", "account_rate": "60/min"}, 1.0),
        ({"rate": "10/s", "provider": "slow"}, 5.0),
        ({"rate": "10/s", "provider": "elsewhere"}, 10.0),
        ({"rate": "10/s", "gap": "60s-140s"}, 0.01),
        ({"gap": "60s-120s"}, 0.01111),
    ],
)
def test_a_sender_is_bounded_by_whatever_is_slowest(
    row: dict[str, str], expected: float | None
) -> None:
    none = {"rate": None, "account_rate": None, "gap": None, "provider": "p"}

    assert expected == sender_most(pipe_of(p="", slow="5/s"), {**none, **row})
