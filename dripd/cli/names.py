"""Which names can stand here? Completion asks the daemon, and gives up after 300 ms.

Parameters are recognised by their names, so that a command needs to know nothing of this;
only when a shell asks for completion are its parameters given a type that can answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from dripd.admin.client import Client
from dripd.admin.place import socket_path
from dripd.admin.safe import safe
from dripd.cli.output import rows_of
from dripd.errors import DripdError

PATIENCE_S: Final = 0.3
MOST: Final = 1000

Source: TypeAlias = Callable[[click.Context], Iterator[str]]


def listed(method: str, column: str, *, in_account: bool = True) -> Source:
    """The *column* of what *method* lists, of the account on the line where there is one."""

    def names(context: click.Context) -> Iterator[str]:
        account = context.params.get("account") if in_account else None
        params = {"limit": MOST} if method != "node.list" else {}
        with Client(
            socket_path(context.find_root().params.get("socket")), timeout=PATIENCE_S
        ) as client:
            answer = client.call(
                method, {**params, **({"account": account} if account else {})}
            )
        for row in rows_of(answer.get("items")) if isinstance(answer, dict) else ():
            if isinstance(name := row.get(column), str):
                yield name

    return names


def methods(_context: click.Context) -> Iterator[str]:
    from dripd.admin.catalogue import SPECS  # noqa: PLC0415 - all of msgspec, for one command

    yield from SPECS


def screens(_context: click.Context) -> Iterator[str]:
    try:
        from dripd.tui.pages import PAGES, TABS  # noqa: PLC0415 - an extra
    except ImportError:
        return
    yield from (*PAGES, *TABS)


ACCOUNTS: Final = listed("account.list", "key", in_account=False)
CAMPAIGNS: Final = listed("campaign.list", "key")
LISTS: Final = listed("list.list", "key")
SENDERS: Final = listed("sender.list", "address")
OPERATORS: Final = listed("operator.list", "name")
NODES: Final = listed("node.list", "node", in_account=False)

ANYWHERE: Final[Mapping[str, Source]] = {
    "account": ACCOUNTS, "campaign": CAMPAIGNS, "list_": LISTS, "backfill": LISTS,
    "board": LISTS, "boards": LISTS, "sender": SENDERS, "node": NODES, "as_name": OPERATORS,
    "owner": OPERATORS, "assignee": OPERATORS, "recipient": OPERATORS, "method": methods,
}  # fmt: skip
"""Parameters that mean the same in every command."""

BY_NOUN: Final[Mapping[tuple[str, str], Source]] = {
    ("account", "key"): ACCOUNTS,
    ("campaign", "key"): CAMPAIGNS,
    ("console", "screen"): screens,
    ("list", "key"): LISTS,
    ("operator", "name"): OPERATORS,
    ("sender", "address"): SENDERS,
    ("enroll", "to"): CAMPAIGNS,
    ("task", "to"): OPERATORS,
}


class Name(StringParamType):
    """A text whose values a source knows."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names that begin so; none where no daemon answers in time."""
        try:
            found = sorted({safe(name) for name in self._source(ctx)})
        except DripdError:
            return []
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def teach(noun: str, command: click.Command) -> None:
    """Give *command*, and what is beneath it, the sources of its parameters."""
    for parameter in command.params:
        name = parameter.name or ""
        source = BY_NOUN.get((noun, name), ANYWHERE.get(name))
        if source is not None and type(parameter.type) is StringParamType:
            parameter.type = Name(source)
    for beneath in command.commands.values() if isinstance(command, click.Group) else ():
        teach(noun, beneath)
