"""The library of ready campaigns: list, show, and import one as a draft of one's own.

An item is a campaign file that comes with dripd (`campaigns/library/`); the comment at its head
says what it is for. What is imported is a copy: it belongs to its account and to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dripd import campaigns
from dripd.admin import params as p
from dripd.admin.messages import Call, Handler
from dripd.campaigns.document import load_documents
from dripd.daemon.control_file import FileControl
from dripd.daemon.control_room import Room, away
from dripd.daemon.control_text import to_yaml
from dripd.errors import Conflict, NotFound, near
from dripd.store.connect import Conn
from dripd.store.desk_deed import Result
from dripd.store.desk_file import Raw, read_sides
from dripd.store.desk_find import sole_account


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A campaign file of the library."""

    key: str
    description: str
    text: str
    raw: Raw

    def shown(self) -> Result:
        steps = self.raw["steps"]
        return {
            "key": self.key,
            "name": self.raw["name"],
            "preset": self.raw.get("preset"),
            "steps": len(steps) if isinstance(steps, list) else 0,
            "description": self.description,
        }


@cache
def library() -> Mapping[str, Item]:
    """Every item by its key."""
    root = Path(campaigns.__file__).parent / "library"
    found = (_read(path) for path in sorted(root.glob("*.yaml")))
    return {item.key: item for item in found}


def _read(path: Path) -> Item:
    text = path.read_text(encoding="utf-8")
    head = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").strip())
    (raw,) = load_documents(text, filename=path.name)
    return Item(key=path.stem, description=" ".join(head), text=text, raw=raw)


def find_item(key: str) -> Item:
    """The item *key*. Raises `NotFound`."""
    items = library()
    if key not in items:
        raise NotFound(
            f"the library has no {key!r}", hint=near(key, items, "dripd campaign library list")
        )
    return items[key]


class LibraryControl:
    """The handlers of `campaign.library_list library_show library_import`."""

    def __init__(self, room: Room, files: FileControl) -> None:
        self._room = room
        self._files = files

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "campaign.library_list": self.list,
            "campaign.library_show": self.show,
            "campaign.library_import": self.import_,
        }

    async def list(self, _call: Call, _args: p.Params) -> Result:
        items = await away(library)
        return {"items": [item.shown() for item in items.values()], "next": None}

    async def show(self, _call: Call, args: p.LibraryItem) -> Result:
        item = await away(find_item, args.item)
        return {**item.shown(), "definition": item.raw, "text": item.text}

    async def import_(self, call: Call, args: p.LibraryImport) -> Result:
        """Store a copy of an item as the draft of a new campaign. Raises `Conflict`."""
        item = await away(find_item, args.item)
        key = args.as_ or item.key
        account = await self._room.desk.run(_free_key, key, args.account)
        raw = {**item.raw, "campaign": key, "account": account}
        document = p.Document(filename=f"{item.key}.yaml", text=await away(to_yaml, raw))
        wanted = p.CampaignDocuments(documents=[document], account=account)
        stored = await self._files.apply(call, wanted)
        items = stored["items"]
        first: Result = items[0] if isinstance(items, list) else {}
        return {**first, "item": item.key}


async def _free_key(conn: Conn, key: str, account: str | None) -> str:
    """The account's key, if it has no campaign *key* yet. Raises `Conflict`."""
    row = await sole_account(conn, account)
    sides = await read_sides(conn, key, row["key"], must=False)
    if sides.row is not None:
        raise Conflict(
            f"account {row['key']} has a campaign {key!r} already", code="exists",
            hint="--as another key",
        )  # fmt: skip
    return str(row["key"])
