"""How does a command ask the daemon? The options that all share, and the calls they make.

`reading` and `changing` decorate a command: they add `--json`, `--as`, `--socket` and
`--timeout`, a changing one also `--yes`, `--reason` and `--dry-run`, and hand it an `Ask`.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, TypeAlias

import click

from dripd.admin.client import Client
from dripd.admin.place import socket_path
from dripd.admin.rows import cut
from dripd.cli.output import (
    Row,
    print_error,
    print_items,
    print_json,
    print_record,
    print_waits,
    rows_of,
)
from dripd.errors import BadRequest, Conflict, DripdError, NotFound, NotPermitted

Command: TypeAlias = Callable[..., int | None]
"""A command returns its exit code; its parameters are named after its options."""

CALL_S: Final = 30.0
PARTLY_DONE: Final = 8
FAILED: Final = 1

EXITS: Final = {
    word: error.exit_code
    for error, words in {
        BadRequest: "bad_request",
        NotFound: "not_found unknown_account unknown_campaign unknown_contact",
        NotPermitted: "forbidden not_visible",
        Conflict: "conflict already_in already_ran not_active account_paused min_gap max_runs"
        " quote_stale duplicate",
    }.items()
    for word in words.split()
}
"""What a command exits with by the code of what was refused; by any other code with 1."""

HINTS: Final = {
    "unknown_account": "dripd account list",
    "unknown_campaign": "dripd campaign list",
    "unknown_contact": "dripd contact list",
    "not_active": "dripd campaign activate KEY",
    "already_in": "dripd enroll stop --contact CONTACT --campaign KEY",
    "already_ran": "dripd enroll reset --contact CONTACT --campaign KEY",
    "min_gap": "policy.reentry.min_gap of the campaign says how long",
    "max_runs": "policy.reentry of the campaign says how often",
    "no_subscription": "dripd account set KEY --subscription on",
    "no_sender": "dripd sender set ADDRESS --account KEY",
    "insufficient_balance": "dripd account deposit KEY AMOUNT",
    "quote_stale": "dripd campaign quote KEY --contact CONTACT",
    "not_on_board": "dripd list add BOARD CONTACT",
    "not_visible": "dripd sender set ADDRESS --shared NAME,...",
    "suppressed": "dripd suppress check ADDRESS",
    "missing": "dripd contact add CONTACT --email ADDRESS --phone NUMBER",
    "account_paused": "dripd account resume KEY",
}
"""What to do about what was refused, by its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One use of a command: where the daemon is, how to ask, how to show the answer.

    `timeout` None waits for ever. A changing call is given one of `request_ids`, so that the
    daemon performs it once.
    """

    socket: str | None
    timeout: float | None
    as_json: bool
    as_name: str | None
    yes: bool = False
    reason: str = ""
    dry_run: bool = False
    changing: bool = False
    request_ids: Iterator[str] = field(default_factory=lambda: named(None))

    def patient(self) -> Ask:
        """The same, waiting for ever unless the user said how long."""
        return replace(self, timeout=None) if self.timeout == CALL_S else self

    def call(self, method: str, **params: object) -> dict[str, object]:
        """The result of *method*; parameters that are None or empty are not sent."""
        with self.connect() as client:
            return self.use(client, method, **params)

    def use(self, client: Client, method: str, **params: object) -> dict[str, object]:
        """As `call`, on a connection that is open already."""
        found = client.call(method, {**trim(params), **self.envelope()})
        return found if isinstance(found, dict) else {"result": found}

    def connect(self) -> Client:
        return Client(socket_path(self.socket), timeout=self.timeout)

    def envelope(self) -> dict[str, object]:
        """What belongs to every call."""
        outer: dict[str, object] = {"as": self.as_name} if self.as_name else {}
        if self.changing:
            outer["request_id"] = next(self.request_ids)
        if self.reason:
            outer["reason"] = self.reason
        return outer | {k: True for k in ("yes", "dry_run") if getattr(self, k)}

    def show(self, method: str, *columns: str, **params: object) -> int:
        """Ask and print: a table of *columns* where the answer is a list, else a record."""
        return self.answer(self.call(method, **params), columns)

    def explain(self, method: str, **params: object) -> int:
        """Ask what runs wait for, and print it."""
        found = self.call(method, **params)
        if self.as_json:
            print_json(found)
        else:
            print_waits(rows_of(found.get("enrollments")), rows_of(found.get("queued")))
        return 0

    def answer(self, result: Row, columns: Sequence[str] = ()) -> int:
        """Print *result*; returns the exit code that it amounts to."""
        if self.as_json:
            print_json(result)
        elif self.changing or "items" not in result:
            self._print_change(result)
        else:
            print_items(rows_of(result["items"]), columns)
            if result.get("next"):
                click.echo(f"more: --after {result['next']}", err=True)
        code = exit_code(result)
        if code:
            print_error(refusal(result), as_json=self.as_json)
        return code

    def _print_change(self, result: Row) -> None:
        if self.dry_run:
            click.echo("dry run: nothing was changed", err=True)
        print_record(result)


def named(request_id: str | None) -> Iterator[str]:
    """A name for each call of one use of a command: the same ones again where the user gave one."""
    for n in count(1):
        if request_id is None:
            yield str(uuid.uuid4())
        else:
            yield request_id if n == 1 else f"{request_id}:{n}"


def exit_code(result: Row) -> int:
    """0; 8 where only some of several things were done; where none was, what their codes say."""
    judged = [item for item in rows_of(result.get("items")) if "ok" in item]
    done = [bool(item["ok"]) for item in judged]
    if all(done):
        return 0
    if any(done):
        return PARTLY_DONE
    exits = {EXITS.get(str(item.get("code")).partition(":")[0], FAILED) for item in judged}
    return exits.pop() if len(exits) == 1 else FAILED


def refusal(result: Row) -> DripdError:
    """What an answer amounts to in which some things, or all, were not done."""
    items = rows_of(result.get("items"))
    refused = [item for item in items if not item.get("ok", True)]
    codes = list(dict.fromkeys(str(item.get("code") or "failed") for item in refused))
    message = f"{len(refused)} of {len(items)} refused: {', '.join(codes)}"
    return DripdError(message, code=codes[0], hint=HINTS.get(codes[0].partition(":")[0], ""))


def trim(params: Mapping[str, object]) -> dict[str, object]:
    """Only what was given: no None, no empty tuple or mapping; tuples become lists."""
    given = {k.rstrip("_"): v for k, v in params.items() if v is not None and v not in ((), {})}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}


def reading(body: Command) -> Command:
    """Make *body* a command that looks."""
    return common(with_ask(body, changes=False))


def changing(body: Command) -> Command:
    """Make *body* a command that changes something."""
    command = with_ask(body, changes=True)
    for option in (
        click.option("--yes", is_flag=True, help="Confirm what asks for confirmation."),
        click.option("--reason", default="", help="Why; kept with what is done."),
        click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing."),
        click.option(
            "--request-id", metavar="ID", help="Repeated with it, nothing is done twice."
        ),
    ):
        command = option(command)
    return common(command)


def common(command: Command) -> Command:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object."),
        click.option("--as", "as_name", metavar="NAME", help="Act as an operator (admins)."),
        click.option("--socket", help="The daemon's socket."),
        click.option("--timeout", type=float, help="Seconds to wait for each answer."),
    ):
        command = option(command)
    return command


def with_ask(body: Command, *, changes: bool) -> Command:
    @functools.wraps(body)
    def command(**options: Any) -> int | None:
        ask = Ask(
            socket=options.pop("socket") or inherited("socket"),
            timeout=options.pop("timeout") or inherited("timeout") or CALL_S,
            as_json=options.pop("as_json"),
            as_name=options.pop("as_name"),
            yes=options.pop("yes", False),
            reason=options.pop("reason", ""),
            dry_run=options.pop("dry_run", False),
            changing=changes,
            request_ids=named(options.pop("request_id", None)),
        )
        return body(ask, **options)

    return command


def inherited(name: str) -> Any:
    """The option *name* of `dripd` itself, given before the noun."""
    return click.get_current_context().find_root().params.get(name)


def account(command: Command) -> Command:
    """`--account`: may be left out where the key is unique in the deployment."""
    return click.option("--account", metavar="KEY", help="The account, where ambiguous.")(
        command
    )


def paged(command: Command) -> Command:
    """`--limit` and `--after`, the cursor that the page before ended with."""
    for option in (
        click.option("--limit", type=click.IntRange(1, 1000), help="Most items (100)."),
        click.option("--after", metavar="CURSOR", help="Go on after this page."),
    ):
        command = option(command)
    return command


def pages(ask: Ask, method: str, **params: object) -> Iterator[dict[str, object]]:
    """Every page of a list, on one connection."""
    after: object = None
    with ask.connect() as client:
        while True:
            page = ask.use(client, method, after=after, limit=1000, **params)
            yield page
            after = page.get("next")
            if after is None:
                return


def in_pieces(
    ask: Ask, method: str, name: str, values: Sequence[object], **params: object
) -> dict[str, object]:
    """One change over many values, at most 500 a call; the answers become one.

    Each piece is a call of its own: one that fails leaves those before it done, and is where it
    goes on when it is repeated with its request_id.
    """
    changed, items, rest = 0, [], {}
    pieces = list(cut(values))
    with ask.connect() as client:
        for n, piece in enumerate(pieces, 1):
            try:
                rest = ask.use(client, method, **{name: piece}, **params)
            except Conflict as error:
                if error.code != "done_before" or n == len(pieces):
                    raise
                continue
            items += rows_of(rest.pop("items", []))
            changed += number(rest.get("changed"))
    return {**rest, "changed": changed, "items": items}


def number(value: object) -> int:
    """How many were changed: a count, or one for true."""
    return int(value) if isinstance(value, int) else 0
