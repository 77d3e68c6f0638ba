"""What `/` understands, and what it says of what it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripd.tui.filter import BadFilter, Key, complete, parse, written
from dripd.tui.pages import PAGES

KEYS = {
    "campaign": Key(param="campaign", help="of it"),
    "status": Key(param="status", help="so", values=("held", "waiting")),
    "contact": Key(param="contact", help="of whom"),
    "run": Key(param="enrollment", help="the run", number=True),
    "unread": Key(param="unread", help="only so", flag=True),
    "kind": Key(param="kind", help="of it", negated=True),
}


def test_a_filter_becomes_parameters() -> None:
    found = parse(
        'campaign=win-back status=held contact="c 7" run=#12 unread=yes kind!=reply', KEYS
    )

    assert found == {
        "campaign": "win-back",
        "status": "held",
        "contact": "c 7",
        "enrollment": 12,
        "unread": True,
        "kind": "!reply",
    }


def test_a_tail_takes_several_values() -> None:
    assert parse("kind=bounce,admin", KEYS) == {"kind": ["bounce", "admin"]}
    assert parse("kind=bounce,", KEYS) == {"kind": ["bounce"]}
    assert parse("campaign=a,b", KEYS) == {"campaign": "a,b"}
    seen = ("bounce", "admin", "reply")
    assert complete("kind=bounce,", KEYS, lambda _: seen) == [
        "kind=bounce,admin", "kind=bounce,reply",
    ]  # fmt: skip


def test_a_bare_word_is_the_screens_own_key() -> None:
    assert {"contact": "c7"} == parse("c7", KEYS, "contact")


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("status=held foo=1", 12, "unknown key 'foo'"),
        ("campain=x", 0, "did you mean 'campaign'?"),
        ("status=gone", 0, "one of held, waiting"),
        ("run=x", 0, "a number"),
        ("unread=maybe", 0, "yes or no"),
        ("status!=held", 0, "cannot be negated"),
        ("kind!=a,b", 0, "takes one value"),
        ("campaign=", 0, "needs a value"),
        ("campaign=a campaign=b", 11, "twice"),
        ('contact="c', 0, "quote is not closed"),
        ("word", 0, "needs a key"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, at: int, says: str) -> None:
    with pytest.raises(BadFilter) as bad:
        parse(text, KEYS)

    assert bad.value.at == at
    assert says in bad.value.message


@given(st.text())
def test_any_text_is_parsed_or_refused_with_a_place_in_it(text: str) -> None:
    at = 0
    try:
        parse(text, KEYS, "contact")
    except BadFilter as bad:
        at = bad.at

    assert 0 <= at <= len(text)


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("sta", ["status="]),
        ("status=", ["status=held", "status=waiting"]),
        ("campaign=x sta", ["campaign=x status="]),
        ("unread=", ["unread=yes", "unread=no"]),
        ("nothing=", []),
    ],
)
def test_completion_offers_whole_filters(text: str, offered: list[str]) -> None:
    assert offered == complete(text, KEYS)


@pytest.mark.parametrize("name", PAGES)
def test_completions_of_every_screen_are_filters_that_it_understands(name: str) -> None:
    keys = PAGES[name].keys
    if isinstance(keys, dict):
        for begun in complete("", keys):
            for whole in complete(begun, keys):
                parse(whole, keys)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("kind==reply", "kind=reply"),
        ("kind=!reply", "kind!=reply"),
        ("kind=!=reply", "kind!=reply"),
    ],
)
def test_signs_in_the_wrong_place_are_put_right(said: str, meant: str) -> None:
    with pytest.raises(BadFilter, match=f"write {meant}"):
        parse(said, KEYS)


def test_a_hold_may_name_what_it_lacks() -> None:
    keys = PAGES["enrollments"].keys

    assert parse('hold="missing_tag:First Name"', keys) == {"hold": "missing_tag:First Name"}
    with pytest.raises(BadFilter, match="is one of"):
        parse("hold=nonsense:x", keys)


def test_what_a_jump_asks_for_is_read_as_it_was_meant() -> None:
    keys = {"hold": Key(param="hold", help=""), "account": Key(param="account", help="")}
    said = written(account="acme", hold="missing_tag:First Name")

    assert parse(said, keys) == {"account": "acme", "hold": "missing_tag:First Name"}
