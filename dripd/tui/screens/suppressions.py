"""Whom may nobody reach? The standing orders, exact look-up, adding and removing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from dripd.admin.rows import cut, read_rows
from dripd.tui.deeds import WIDE
from dripd.tui.dialog import Blank, Question, Reading
from dripd.tui.draw import Cell, Line, line
from dripd.tui.filter import Key
from dripd.tui.page import Action, ListPage
from dripd.tui.table import Column, Row
from dripd.tui.watch import Watch
from dripd.tui.words import clock, count, text


class Suppressions(ListPage):
    name: ClassVar[str] = "suppressions"
    digit: ClassVar[str] = "0"
    short: ClassVar[str] = "Supp"
    tiny: ClassVar[str] = "Su"
    title: ClassVar[str] = "Suppressions"
    method: ClassVar[str] = "suppress.export"
    keys: ClassVar[Mapping[str, Key]] = {
        "account": Key(param="account", help="of this account")
    }
    figures = (
        (
            "~N entries",
            "about how many there are, as the database's statistics have it; not said of what is loaded whole",
        ),
        ("SCOPE", "everywhere, or one account"),
        ("VALUE", "the address, masked; = looks one up exactly, as it is typed"),
        (
            "BY",
            "who made it: an operator, `event` (a bounce, a complaint, STOP), or the database's role that wrote the row",
        ),
        ("EXPIRES", "never, or when the order ends by itself"),
    )

    def columns(self) -> Sequence[Column]:
        return (
            Column(title="SCOPE", width=10, show=lambda row: text(row.get("scope") or row.get("account_key") or _scope(row))),
            Column(title="CHAN", width=5, show=lambda row: text(row.get("channel"))),
            Column(title="VALUE", show=lambda row: text(row.get("address"))),
            Column(title="REASON", width=14, show=lambda row: text(row.get("reason"))),
            Column(title="ADDED", width=12, show=lambda row: clock(row.get("created_at"), day=True)),
            Column(title="BY", width=8, narrow=False, show=lambda row: text(row.get("created_by"))),
            Column(title="EXPIRES", width=12, show=lambda row: clock(row.get("expires_at"), day=True) if row.get("expires_at") else "never"),
        )  # fmt: skip

    def actions(self) -> list[Action]:
        return [
            Action(key="=", label="lookup", help="every entry of one address", run=self._look_up, method="suppress.check"),
            Action(key="a", label="add", help="never reach an address again", run=self._add,
                   method="suppress.add", changes=True),
            Action(key="i", label="import", help="the rows of a file: address, channel, reason, expires_at; counted first", run=self._import,
                   method="suppress.import", changes=True),
            Action(key="D", label="REMOVE", help="an address may be reached again: by typing it (admins)",
                   run=self._remove, method="suppress.remove", changes=True),
        ]  # fmt: skip

    @property
    def extent(self) -> str:
        if about := (self._first.answer or {}).get("about"):
            return f"~{count(about)} entries   {super().extent}"
        return super().extent

    def _watching(self, after: object) -> Watch:
        watch = super()._watching(after)
        if after is None:
            self._first = watch
        return watch

    def _look_up(self) -> None:
        def done(typed: dict[str, str]) -> None:
            async def run() -> None:
                answer = await self.port.call("suppress.check", {"address": typed["address"]})
                entries = answer.get("entries", [])
                word = "is suppressed" if answer.get("suppressed") else "may be reached"
                body = [line(Cell(f"{typed['address']} {word}", "head"))]
                body += [
                    line(
                        f"  {text(one.get('scope'))}  {text(one.get('channel'))}  {text(one.get('reason'))}  by {text(one.get('created_by'))}  until {clock(one['expires_at'], day=True) if one.get('expires_at') else 'never'}"
                    )
                    for one in entries
                ]
                self.port.ask(Reading("lookup", body))

            self.port.spawn(run())

        self.port.ask(
            Question(
                "look up an address",
                [Blank(name="address", label="Address:", required=True)],
                done,
            )
        )

    def _add(self) -> None:
        def done(typed: dict[str, str]) -> None:
            params = {
                "addresses": [typed["address"]],
                **({"account": typed["account"]} if typed["account"] else {}),
            }
            scope = typed["account"] or "any account"
            self.deeds.confirm(
                f"SUPPRESS {typed['address']}", [f"It is reached no more by {scope}. D takes that away again."],
                "suppress.add", {**params, "reason": typed["reason"]}, "suppressed", verb="Suppress",
            )  # fmt: skip

        blanks = [
            Blank(name="address", label="Address:", required=True),
            Blank(name="account", label="Account (empty: everywhere):"),
            Blank(name="reason", label="Reason:", required=True),
        ]
        self.port.ask(Question("suppress", blanks, done))

    def _import(self) -> None:
        def done(typed: dict[str, str]) -> None:
            path = Path(typed["file"]).expanduser()
            self.port.spawn(self._preview(path, typed["account"]))

        blanks = [
            Blank(name="file", label="File (CSV, JSON or JSON lines):", required=True),
            Blank(name="account", label="Account (empty: everywhere):"),
        ]
        self.port.ask(
            Question("import suppressions", blanks, done, "it is read here, and counted first")
        )

    async def _preview(self, file: Path, account: str) -> None:
        """Say what the rows of *file* would do, then ask."""
        pieces = list(cut(read_rows(str(file))))
        scope = {"account": account} if account else {}
        found: list[Row] = []
        for piece in pieces:
            asked = {**scope, "rows": piece, "dry_run": True}
            found += (await self.port.call("suppress.import", asked))["items"]
        fresh = sum(bool(one["changed"]) for one in found)
        bad = [(n, one) for n, one in enumerate(found, 1) if not one["ok"]]
        said = f"{count(len(found))} rows: {count(fresh)} new, {count(len(found) - fresh - len(bad))} already, {count(len(bad))} bad"
        if not fresh:
            self.port.tell(f"{said}; nothing to import", "warn")
            return
        reason = Blank(name="reason", label="Reason, for rows without:", required=True)
        word = Blank(name="word", label=f"Type {fresh} to confirm:", must_be=str(fresh))
        self.deeds.confirm(
            f"IMPORT {file.name}",
            [f"{said}.", *(f"  row {n}: {text(one.get('message'))}" for n, one in bad[:3]),
             f"The new ones are reached no more by {account or 'any account'}. D takes one away again."],
            "suppress.import", scope, "imported", verb="Import",
            blanks=[reason, word] if fresh > WIDE else [reason], pieces=[{"rows": one} for one in pieces],
        )  # fmt: skip

    def _remove(self) -> None:
        def done(typed: dict[str, str]) -> None:
            params = {
                "addresses": [typed["address"]],
                **({"account": typed["account"]} if typed["account"] else {}),
            }
            self.deeds.planned(
                f"REMOVE the suppression of {typed['address']}", "suppress.remove", params,
                lambda _: ["It may be reached again by every campaign that wants to. Do so only if the person asked for it."],
                verb="Remove", word=lambda _: typed["address"],
            )  # fmt: skip

        blanks = [
            Blank(name="address", label="Address:", required=True),
            Blank(name="account", label="Account (empty: everywhere):"),
        ]
        self.port.ask(Question("take a suppression away", blanks, done))

    def detail(self, row: Row, width: int) -> list[Line]:
        return [
            line(
                f" {text(row.get('address'))}   {text(row.get('reason'))}   holds for {text(row.get('scope') or _scope(row))}   by {text(row.get('created_by'))}"
            )
        ]


def _scope(row: Row) -> str:
    return (
        "everywhere" if row.get("account_id") == 0 else f"account {text(row.get('account_id'))}"
    )
