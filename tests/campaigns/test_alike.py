"""What a campaign says is read once for all accounts, and means the same as read by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dripd import campaigns
from dripd.campaigns.alike import likeness, parse_alike
from dripd.campaigns.document import load_documents
from dripd.campaigns.parse import parse
from dripd.campaigns.version import Version

FILES = sorted((Path(campaigns.__file__).parent / "library").glob("*.yaml"))

MAIL = {"key": "a", "do": "email", "subject": "Hi", "text": "Hello"}

TEXT: dict[str, Any] = {
    "campaign": "c",
    "account": "one",
    "name": "C",
    "sender": "s@one.test",
    "steps": [MAIL, {**MAIL, "key": "b", "sender": "own@x.test"}, {"key": "t", "do": "sms", "text": "Hi"}],
    "on_click": [{"link": "l", "do": "email", "subject": "Hi", "text": "Hello"}],
}  # fmt: skip


def same(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "account": "two", "sender": "s@two.test"}


def known_twice(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(likeness(one, {})) and likeness(one, {}) == likeness(other, {})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_campaign_of_the_library_means_the_same_in_another_account(path: Path) -> None:
    (raw,) = load_documents(path.read_text(encoding="utf-8"), filename=path.name)
    one: dict[str, Any] = {**raw, "account": "one", "sender": "s@one.test"}

    assert known_twice(one, same(one))
    assert parse_alike(same(one), parse(one)) == parse(same(one))


def test_what_inherits_a_sender_has_the_other_accounts_and_what_names_one_keeps_it() -> None:
    found = parse_alike(same(TEXT), parse(TEXT))

    assert found == parse(same(TEXT))
    assert found is not None
    assert [step.sender for step in found.steps] == ["s@two.test", "own@x.test", ""]
    assert found.handlers[0].action.sender == "s@two.test"


def test_a_campaign_of_the_accounts_pool_is_known_as_well() -> None:
    one = {name: value for name, value in TEXT.items() if name != "sender"}
    other = {**one, "account": "two"}

    assert known_twice(one, other)
    assert not known_twice(one, TEXT)
    assert parse_alike(other, parse(one)) == parse(other)


def test_what_is_said_otherwise_is_no_likeness() -> None:
    own = {**MAIL, "sender": TEXT["sender"]}

    assert not known_twice(TEXT, {**TEXT, "name": "D"})
    assert likeness(TEXT, {}) != likeness(TEXT, {"hello": {"text": "Hi"}})
    assert likeness({**TEXT, "sender": "+4930"}, {}) == b""
    assert likeness({**TEXT, "steps": [own]}, {}) == b""
    assert likeness({**TEXT, "steps": 2**70}, {}) == b""


@pytest.mark.parametrize(
    "fault", [{"account": "No Key"}, {"sender": " "}, {"sender": "s@\x00"}, {"account": None}]
)
def test_a_fault_in_whose_it_is_is_left_to_the_reader(fault: dict[str, Any]) -> None:
    assert parse_alike({**TEXT, **fault}, parse(TEXT)) is None


def test_a_version_made_like_another_asks_for_the_same() -> None:
    def version(document: dict[str, Any], like: Version | None = None) -> Version:
        return Version(
            cv_id=1,
            account_id=1,
            campaign_id=1,
            campaign_key="c",
            owner="",
            definition=parse(document),
            like=like,
        )

    one, other = version(TEXT), version(same(TEXT))
    twin = version(same(TEXT), like=one)

    assert twin.contents is one.contents
    assert twin.contents == other.contents
    assert [twin.mask(name) for name in ("", "email", "sms")] == [
        other.mask(name) for name in ("", "email", "sms")
    ]
    assert twin.sole_sender("email") == other.sole_sender("email")
    assert [twin.lane_key(no, None, ()) for no in range(3)] == [
        other.lane_key(no, None, ()) for no in range(3)
    ]
