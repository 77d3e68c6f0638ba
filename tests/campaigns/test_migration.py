"""Where a live run goes on in the next version."""

from __future__ import annotations

import pytest

from dripd.campaigns.migration import Place, ahead, place_of, read_map
from dripd.errors import BadRequest
from tests.support.rooms import email, make_version, tag

OLD = ("a", "b", "d")


def new(*keys: str) -> object:
    return make_version(*[email(key=key) for key in keys]).definition


@pytest.mark.parametrize(
    ("at", "keys", "given", "place"),
    [
        (1, ("a", "x", "b"), {}, Place(2, same=True)),
        (1, ("a", "d"), {}, Place(1, same=False)),
        (1, ("a",), {}, Place(None, same=False)),
        (1, ("a", "b", "x"), {"b": "x"}, Place(2, same=False)),
        (1, ("a", "x"), {"d": "x"}, Place(1, same=False)),
    ],
)
def test_a_run_goes_on_at_its_step_or_at_the_next_that_is_left(
    at: int, keys: tuple[str, ...], given: dict[str, str], place: Place
) -> None:
    assert place_of(OLD, at, new(*keys), given) == place  # type: ignore[arg-type]  # a Definition


def test_messages_ahead_are_those_that_may_still_be_sent() -> None:
    version = make_version(
        email(key="a"), tag(key="t"), email(key="b", next="end"), email(key="c")
    )

    assert ahead(version.definition, 1) == {"b"}


@pytest.mark.parametrize("given", [{"zz": "a"}, {"a": "zz"}])
def test_a_map_names_steps_that_are_there(given: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        read_map(given, OLD, make_version(email(key="a")).definition)
