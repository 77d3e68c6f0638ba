"""Files that go with a mail: from beside the campaign file to who gets it."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from dripd.cli.main import main
from dripd.errors import BadRequest, DefinitionError
from tests.stories.world import World, until

MAIL = """
campaign: terms
account: acme
name: Terms
sender: hello@acme.test
steps:
  - {key: one, do: email, subject: S, text: T, attachments: [terms.pdf, "price list.csv"]}
  - {key: two, do: email, delay: 1d, subject: S, text: T}
"""

LIMIT = 26_214_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mail.yaml").write_text(MAIL)
    (tmp_path / "terms.pdf").write_bytes(b"%PDF-")
    (tmp_path / "price list.csv").write_bytes(bytes(range(256)) * 2100)
    return tmp_path


def ask(world: World, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main([*words, "--json", "--socket", str(world.socket)])
    printed = capsys.readouterr()
    return code, json.loads(printed.out)


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.feature("F7")
def test_files_beside_the_campaign_go_with_its_mail(
    world: World, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(folder / "mail.yaml")
    assert ask(world, capsys, "campaign", "apply", file, "--dry-run")[0] == 0
    assert world.one("SELECT count(*) FROM dripd.attachment") == 0
    code, applied = ask(world, capsys, "campaign", "apply", file)
    assert (code, applied["changed"], applied["warnings"]) == (0, True, [])
    assert ask(world, capsys, "campaign", "apply", file)[1]["changed"] is False
    world.call("campaign.activate", key="terms", account="acme")
    (folder / "terms.pdf").write_bytes(b"other terms")  # what is published stays as it is
    world.contact("ann")
    quote = world.call("campaign.quote", key="terms", account="acme", contact="ann")
    assert [one["step_key"] for one in quote["messages"]] == ["one", "two"]
    world.enroll("terms", "ann")
    world.advance("2d")

    headers = world.sql("SELECT step_key, headers FROM dripd.sink_message ORDER BY id")
    found = [(key, json.loads(raw).get("Attachments")) for key, raw in headers]
    assert found == [("one", "terms.pdf (5), price list.csv (537600)"), ("two", None)]
    text = world.call("campaign.export", key="terms", account="acme")["text"]
    again = [{"filename": "exported.yaml", "text": text}]
    item = world.call("campaign.validate", documents=again)["items"][0]
    assert (item["ok"], item["changed"]) == (True, False)
    assert ask(world, capsys, "campaign", "apply", file)[1]["changed"] is True


@pytest.mark.feature("F7")
def test_twenty_five_mebibytes_go_together_and_not_a_byte_more(
    world: World, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(folder / "mail.yaml")
    sparse(folder / "terms.pdf", LIMIT - 537_600 + 1)

    def codes(*words: str) -> list[str]:
        return [fault["code"] for fault in ask(world, capsys, *words, file)[1]["faults"]]

    assert codes("campaign", "apply") == ["attachments_too_big"]
    sparse(folder / "terms.pdf", 13 << 20)
    sparse(folder / "price list.csv", 13 << 20)
    assert codes("campaign", "apply") == ["attachments_too_big"]
    assert world.one("SELECT count(*) FROM dripd.attachment") == 0
    sparse(folder / "price list.csv", 12 << 20)
    assert codes("campaign", "apply") == []
    assert world.one("SELECT sum(octet_length(data)) FROM dripd.attachment") == LIMIT
    (folder / "terms.pdf").unlink()
    assert codes("campaign", "validate") == ["missing:attachment"]
    assert codes("campaign", "apply") == ["missing:attachment"]


def test_what_was_not_handed_over_in_full_is_not_attached(world: World) -> None:
    def hand(data: bytes, name: str, size: int = 5) -> Any:
        text = base64.b64encode(data).decode()
        return world.call("campaign.attach", account="acme", sha256=name, size=size, data=text)

    name = sha256(b"terms").hexdigest()
    pin = {"sha256": name, "size": 5}
    documents = [{"filename": "f", "text": MAIL.replace(', "price list.csv"', ""),
                  "files": {"terms.pdf": pin}}]  # fmt: skip

    def refused() -> list[tuple[str, str]]:
        with pytest.raises(DefinitionError) as error:
            world.call("campaign.apply", documents=documents)
        return [(fault.code, fault.path) for fault in error.value.faults]

    missing = [("missing:attachment", "steps[0].attachments[0]")]
    assert refused() == missing
    with pytest.raises(BadRequest):
        hand(b"term", name)
    assert hand(b"wrong", name) == {"changed": True, "complete": False}
    assert hand(bytes(524_288), name, 600_000)["complete"] is False
    assert refused() == missing
    assert hand(b"terms", name) == {"changed": True, "complete": True}
    assert hand(b"terms", name) == {"changed": False, "complete": True}
    assert world.call("campaign.apply", documents=documents)["changed"] == 1


@pytest.mark.feature("F7")
@pytest.mark.feature("F38")
def test_a_file_goes_with_the_mail_that_answers_a_form(
    world: World, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        MAIL[: MAIL.index("steps:")]
        + """
steps: [{key: one, do: tag_add, delay: 9d, tag: late}]
on_form: [{form: ask, do: email, subject: S, text: T, attachments: [terms.pdf]}]
"""
    )
    (folder / "mail.yaml").write_text(text)
    assert ask(world, capsys, "campaign", "apply", str(folder / "mail.yaml"))[0] == 0
    world.call("campaign.activate", key="terms", account="acme")
    world.contact("ann")
    world.sql(
        "INSERT INTO dripd.event_in (account_id, contact_id, kind, payload) "
        "SELECT account_id, id, 'form', '{\"form\": \"ask\"}' FROM dripd.contact"
    )
    world.tick()

    (raw,) = world.column("SELECT headers FROM dripd.sink_message")
    assert json.loads(raw)["Attachments"] == "terms.pdf (5)"


def test_an_upload_has_one_row_of_the_audit(
    world: World, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(folder / "mail.yaml")
    for _ in range(2):
        assert ask(world, capsys, "campaign", "apply", file)[0] == 0
    rows = world.column(
        "SELECT detail ->> 'size' FROM dripd.admin_audit WHERE method = 'campaign.attach'"
    )
    assert sorted(rows) == ["5", "537600"]


def test_what_nobody_attaches_any_more_is_swept(
    world: World, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def age() -> None:
        world.sql("UPDATE dripd.attachment SET looked_at = looked_at - interval '2 days'")

    def kept() -> set[int]:
        return set(world.column("SELECT size FROM dripd.attachment"))

    def apply(names: str) -> None:
        (folder / "mail.yaml").write_text(MAIL.replace('terms.pdf, "price list.csv"', names))
        assert ask(world, capsys, "campaign", "apply", str(folder / "mail.yaml"))[0] == 0

    half = base64.b64encode(bytes(524_288)).decode()
    part = {"account": "acme", "sha256": sha256(b"half").hexdigest(), "size": 600_000}
    world.call("campaign.attach", **part, data=half)
    apply('terms.pdf, "price list.csv"')
    assert kept() == {5, 537_600, 600_000}
    age()
    until(lambda: kept() == {5, 537_600})  # what the draft names stays
    world.call("campaign.activate", key="terms", account="acme")
    world.contact("ann")
    world.enroll("terms", "ann")
    world.tick()
    apply("terms.pdf")
    world.call("campaign.publish", key="terms", account="acme")
    age()
    until(lambda: not world.column(
        "SELECT 1 FROM dripd.attachment WHERE looked_at < clock_timestamp() - interval '1 day'"
    ))  # fmt: skip
    assert kept() == {5, 537_600}  # a run of the first version lives
    world.advance("3d")
    age()
    until(lambda: kept() == {5})
