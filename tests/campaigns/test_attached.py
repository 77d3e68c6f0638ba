"""Which files go with a mail: names, what they are pinned to, and how much they may have."""

from __future__ import annotations

import pytest

from dripd.campaigns.attached import MOST_BYTES, Attached, names, pinned
from dripd.campaigns.parse import parse, read
from dripd.campaigns.validate import check

SHA = "0" * 64


def mail(*attachments: object) -> dict[str, object]:
    step = {"key": "a", "do": "email", "subject": "S", "text": "T"}
    return {
        "campaign": "c", "account": "acme", "name": "C", "sender": "us@x.test",
        "steps": [{**step, "attachments": [*attachments]}, {**step, "key": "b"}],
    }  # fmt: skip


def codes(document: dict[str, object]) -> list[tuple[str, str]]:
    return [(fault.code, fault.path) for fault in check(document)[1].faults]


@pytest.mark.feature("F7")
def test_the_raw_bytes_of_a_step_are_held_to_25_mib() -> None:
    def sized(*sizes: int) -> dict[str, object]:
        return mail(*({"name": "f", "sha256": SHA, "size": size} for size in sizes))

    too_big = [("attachments_too_big", "steps[0].attachments")]
    assert codes(sized(26_214_400)) == []
    assert codes(sized(26_214_399, 1)) == []
    assert codes(sized(26_214_401)) == too_big
    assert codes(sized(13 << 20, 13 << 20)) == too_big
    assert MOST_BYTES == 26_214_400


def test_names_are_replaced_by_what_they_stand_for() -> None:
    files = {"a.pdf": {"sha256": SHA, "size": 3}}
    document = pinned(mail("a.pdf", "b.pdf"), files)

    assert list(names(document)) == [["b.pdf"]]
    assert codes(document) == [("missing:attachment", "steps[0].attachments[1]")]
    found = parse(pinned(mail("a.pdf"), files))
    assert found.steps[0].attachments == (Attached(name="a.pdf", sha256=SHA, size=3),)
    assert parse(found.raw) == found
    flows = {"sequences": [{"key": "s", "steps": mail("a.pdf")["steps"]}, 5]}
    assert list(names(flows)) == [["a.pdf"]]
    assert list(names(pinned(flows, files))) == []


@pytest.mark.parametrize(
    "item",
    ["../a", "a/b", "a\\b", "..", "", "a\nb", 5, {"name": "a"},
     {"name": "a", "sha256": "x", "size": 1}, {"name": "a", "sha256": SHA, "size": -1}],
)  # fmt: skip
def test_what_is_no_file_beside_the_campaign_is_refused(item: object) -> None:
    document = mail(item)

    assert [(fault.code, fault.path) for fault in read(document)[1]] == [
        ("bad_value", "steps[0].attachments[0]")
    ]
    assert list(names(document)) == []


def test_each_file_that_cannot_be_attached_is_named() -> None:
    document = mail("terms.pdf", "../a", "/etc/passwd")

    assert [(fault.code, fault.path) for fault in read(document)[1]] == [
        ("bad_value", "steps[0].attachments[1]"),
        ("bad_value", "steps[0].attachments[2]"),
    ]
