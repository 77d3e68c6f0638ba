"""Which pages can be written from the code itself? The reference, so that it cannot go astray.

Each function returns reStructuredText; `write` puts them where Sphinx finds them. Needs
nothing but dripd, so that the tests can hold the pages against the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import click
import msgspec

from dripd import errors, log
from dripd.admin.catalogue import SPECS
from dripd.campaigns.kinds import KINDS
from dripd.campaigns.policies import WORDS
from dripd.campaigns.presets import DEFAULT, PRESETS
from dripd.campaigns.settings import MATCH_KEYS
from dripd.cli.main import COMMANDS, dripd
from dripd.metrics import METRICS
from dripd.options import PROVIDER, SCRIPT, SECTIONS, Option

GENERATED: Final = Path(__file__).parent / "generated"

EXIT_CODES: Final = {
    0: "done; healthy; no difference",
    1: "failed: the reason is on stderr",
    2: "usage: an option or an argument makes no sense",
    3: "what was named does not exist",
    4: "not permitted",
    5: "no daemon answers on the socket",
    6: "conflict: the state of things forbids it, or wants ``--yes``",
    7: "timeout: it may still take effect",
    8: "partly done: the answer lists both",
    10: "``plan`` found changes",
    75: "temporary: the database is down, the disk is full, a limit is reached",
    78: "bad configuration: something must be put right first",
}

COMMON: Final = {
    "as_json": ("--json", 'one JSON object, ``{"schema": 1, ...}``; errors as one on stderr'),
    "account": ("--account KEY", "the account, where a key is not unique in the deployment"),
    "as_name": ("--as NAME", "act as an operator of the account; for admins of the socket"),
    "socket": ("--socket PATH", "the daemon's socket, instead of ``DRIPD_SOCKET``"),
    "timeout": ("--timeout SECONDS", "how long to wait for each answer; 30"),
    "yes": ("--yes", "confirm what asks for confirmation"),
    "reason": ("--reason TEXT", "why; kept in the audit with what was done"),
    "dry_run": ("--dry-run", "say what would happen, change nothing"),
    "limit": ("--limit N", "most items of a list, up to 1,000; 100"),
    "after": ("--after CURSOR", "go on after the page that ended with this cursor"),
}
"""Options that most commands share, by the name of their parameter."""

UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


def title(text: str, mark: str) -> list[str]:
    return [text, mark * len(text), ""]


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A list-table; cells are reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (heads, *rows):
        for n, cell in enumerate(row):
            lines.append(f"   {'* -' if n == 0 else '  -'} {cell}".rstrip())
    return [*lines, ""]


def literal(text: object) -> str:
    return f"``{text}``" if str(text) else "(empty)"


def commands() -> str:
    """Every command: its usage, what it does, its options."""
    lines: list[str] = []
    root = click.Context(dripd, info_name="dripd")
    for name in sorted(COMMANDS):
        command = dripd.get_command(root, name)
        assert command is not None
        lines += list(described(command, click.Context(command, info_name=name, parent=root)))
    return "\n".join(lines)


def described(command: click.Command, context: click.Context) -> Iterator[str]:
    mark = "-" if context.parent is not None and context.parent.parent is None else "~"
    yield from title(context.command_path, mark)
    yield inspect.cleandoc(command.help or "").replace("`", "``").replace("*", r"\*")
    yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            beneath = command.get_command(context, name)
            assert beneath is not None
            yield from described(
                beneath, click.Context(beneath, info_name=name, parent=context)
            )
        return
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"Usage: ``{context.command_path} {usage}``"
    yield ""
    options = [one for one in command.params if isinstance(one, click.Option)]
    for option in options:
        if option.name not in COMMON and not option.hidden:
            yield from explained(option, context)
    shared = [literal(one.opts[0]) for one in options if one.name in COMMON]
    if shared:
        yield f"And the common options {' '.join(sorted(shared))}."
        yield ""


def explained(option: click.Option, context: click.Context) -> Iterator[str]:
    record = option.get_help_record(context)
    assert record is not None
    yield f"``{record[0]}``"
    unsaid = "One of these words." if "[" in record[0] else "As its name says."
    yield f"    {escape(record[1]) or unsaid}"
    yield ""


def common() -> str:
    """What the options mean that most commands have."""
    lines: list[str] = []
    for option, meaning in COMMON.values():
        lines += [literal(option), f"    {meaning}", ""]
    return "\n".join(lines)


def escape(text: str) -> str:
    return re.sub(r"([*|\\_])", r"\\\1", text.replace("`", "'"))


def exit_codes() -> str:
    rows = [[str(code), meaning] for code, meaning in EXIT_CODES.items()]
    return "\n".join(table(("code", "meaning"), rows))


def configuration() -> str:
    """Every option of the configuration."""
    lines: list[str] = []
    for name, options in SECTIONS.items():
        lines += title(f"[{name}]", "-")
        lines += section(options, f"DRIPD_{name.upper().replace('.', '__')}__")
    lines += title("[script.NAME]", "-")
    lines += ["What a ``script`` step may call.", ""]
    lines += section(SCRIPT, "DRIPD_SCRIPT__NAME__")
    lines += title("[provider.NAME]", "-")
    lines += ["A provider that senders name. Other keys belong to its kind.", ""]
    return "\n".join([*lines, *section(PROVIDER, "DRIPD_PROVIDER__NAME__")])


def section(options: Mapping[str, Option], prefix: str) -> list[str]:
    heads = ("key", "value", "default", "meaning")
    rows = [
        [literal(key), bounds(option), literal(shown(option)), meaning(option)]
        for key, option in options.items()
    ]
    lines = table(heads, rows)
    return [*lines, f"In the environment: ``{prefix}KEY``.", ""]


def meaning(option: Option) -> str:
    takes = "; a reload is enough" if option.live else ""
    refers = " (a reference)" if option.secret or option.reference else ""
    return escape(f"{option.doc}{refers}{takes}")


def bounds(option: Option) -> str:
    found = option.schema
    if "enum" in found:
        return " ".join(literal(word) for word in found["enum"])  # type: ignore[attr-defined]  # a list
    if "minimum" in found:
        return f"{found['minimum']} to {found['maximum']}"
    if "pattern" in found:
        return "duration"
    return {"array": "list of texts"}.get(str(found.get("type")), "text")


def shown(option: Option) -> str:
    """The default, as it is written in a file."""
    default = option.default
    if isinstance(default, tuple):
        return "[" + ", ".join(f'"{one}"' for one in default) + "]"
    if "pattern" in option.schema and isinstance(default, int):
        size, unit = next((s, u) for s, u in UNITS if default % s == 0)
        return f"{default // size}{unit}"
    return str(default)


def metrics() -> str:
    rows = [
        [literal(name), one.kind, " ".join(map(literal, one.labels)), escape(one.doc)]
        for name, one in METRICS.items()
    ]
    return "\n".join(table(("name", "type", "labels", "meaning"), rows))


def events() -> str:
    """The catalogue of log events."""
    rows = [[literal(name), escape(log.EVENTS[name])] for name in sorted(log.EVENTS)]
    return "\n".join(table(("event", "meaning"), rows))


def methods() -> str:
    """Every method of the admin protocol."""
    rows = []
    for name in sorted(SPECS):
        spec = SPECS[name]
        fields = [one.encode_name for one in msgspec.structs.fields(spec.params)]
        kind = "changes" if spec.mutating else "reads"
        rows.append([literal(name), str(spec.role), kind, " ".join(map(literal, fields))])
    return "\n".join(table(("method", "from role", "", "parameters"), rows))


def errors_of() -> str:
    """The classes of errors, their codes and what commands exit with."""
    classes = [
        one
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, errors.DripdError)
    ]
    rows = sorted(
        [literal(one.code), str(one.exit_code), escape(first_line(one))] for one in classes
    )
    return "\n".join(table(("code", "exit", "meaning"), rows))


def first_line(found: type) -> str:
    return (inspect.getdoc(found) or "").split("\n\n")[0].replace("\n", " ")


def campaign() -> str:
    """What of a campaign file stands in tables."""
    lines = title("Step kinds", "-")
    lines += [" ".join(literal(kind) for kind in sorted(KINDS)), ""]
    lines += title("Events, and what a match may ask of them", "-")
    lines += table(
        ("on", "keys"),
        ([literal(kind), " ".join(map(literal, keys))] for kind, keys in MATCH_KEYS.items()),
    )
    lines += title("Policies of one word", "-")
    lines += ["The first word is the default.", ""]
    lines += table(
        ("policy", "words"),
        ([literal(key), " ".join(map(literal, words))] for key, words in WORDS.items()),
    )
    lines += title("Presets", "-")
    lines += table(("preset", "policies that differ", "exit rules on"), presets())
    return "\n".join(lines)


def presets() -> Iterator[list[str]]:
    for name, preset in {"(none)": DEFAULT, **PRESETS}.items():
        policy = ", ".join(
            f"{literal(key)}: {plain(value)}" for key, value in preset.policy.items()
        )
        yield [literal(name), policy, " ".join(map(literal, preset.exit_on)) or "none"]


def plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    return str(value)


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.rst": commands,
    "common.rst": common,
    "exit_codes.rst": exit_codes,
    "configuration.rst": configuration,
    "metrics.rst": metrics,
    "events.rst": events,
    "methods.rst": methods,
    "errors.rst": errors_of,
    "campaign.rst": campaign,
}
"""What is written into `generated/`, by its file."""


def write(folder: Path = GENERATED) -> None:
    """Write every page that comes from the code."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page() + "\n", encoding="utf-8")
