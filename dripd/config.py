"""How is this dripd set up? TOML, then the environment, then flags: one frozen `Config`.

All faults are told at once, each with the path of its key. Secrets are references
(`file:PATH`, `env:NAME`, `cred:NAME`) and become `Secret`s, which no dump shows; a secret
written inline is a fault. The options themselves stand in `dripd.options`.
"""

from __future__ import annotations

import os
import re
import socket as sockets
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

from dripd.admin.place import UNIT_SECRETS, socket_path, state_dir
from dripd.admin.roles import Roster
from dripd.channels.base import ProviderSettings, Resources, Secret, SinkRow
from dripd.channels.registry import build
from dripd.clock import Millis, SystemClock
from dripd.engine.doubt import policy_of
from dripd.engine.tuning import Tuning
from dripd.errors import ConfigError, Fault, near
from dripd.log import Format
from dripd.options import PROVIDER, SCRIPT, SECTIONS, Option
from dripd.ratelimit.reputation import Guard

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ETC: Final = Path("/etc/dripd")
SECRET_NAME: Final = re.compile(r"(^|_)(password|secret|token|key)$")
MENDING: Final = {
    "file": "write it there, where the daemon's user may read it",
    "env": "set that variable where the daemon is started",
    "cred": "LoadCredential= in the unit brings it; by hand, be root while dripd.service runs",
}
"""What to do about a secret that is not where its reference says."""

REFERENCE: Final = re.compile(r"(file|env|cred):(.+)", re.DOTALL)


class Unwritten:
    """The sink's writer of a channel through which nothing is sent."""

    async def write(self, rows: Sequence[SinkRow]) -> list[str]:
        return ["accepted" for _ in rows]


LENT: Final = Resources(clock=SystemClock(), sink_writer=Unwritten())
"""For channels that are built to see whether they can be."""

Tree: TypeAlias = dict[str, object]

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """`[daemon]`; `node` is never empty."""

    env: str
    node: str
    drain_timeout_ms: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """`[log]`."""

    level: str
    format: Format


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """`[gateway]`; `listen` "" is no gateway, `secret` None the key of the state directory."""

    listen: str
    public_url: str
    secret: Secret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSettings:
    """`[script.NAME]`: what a `script` step may call; an empty `secret` signs nothing."""

    url: str
    secret: Secret
    timeout_ms: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One value as `config show` prints it: secrets as `***`."""

    key: str
    value: object
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a daemon needs to know; `dsn` None means the embedded Postgres of `state`."""

    dsn: Secret | None
    patience_ms: Millis
    """How long the database may take over a statement."""
    roster: Roster
    daemon: DaemonConfig
    log: LogConfig
    engine: Tuning
    guard: Guard
    gateway: GatewayConfig
    metrics_listen: str
    metrics_campaigns: int
    net_allow: tuple[str, ...]
    journal_fsync: str
    scripts: Mapping[str, ScriptSettings]
    providers: Mapping[str, ProviderSettings]
    """By name; `sink` is always among them."""
    state: Path
    socket: Path
    files: tuple[Path, ...]
    shown: tuple[Shown, ...]
    reread: Callable[[], Config] = field(compare=False, repr=False)
    """Reads it all again, from the same files and flags. Raises as `load`."""

    def is_default(self, key: str) -> bool:
        """Whether nobody has said what *key* (`metrics.listen`) is to be."""
        return any(one.key == key and one.origin == "default" for one in self.shown)


def load(
    file: Path | None = None, *, dsn: str | None = None, socket: str | None = None
) -> Config:
    """Read everything. Raises `ConfigError` with every fault.

    Without *file*: `DRIPD_CONFIG`, else `/etc/dripd/dripd.toml` and `conf.d/*.toml` beside
    it, as far as they exist.
    """
    reader = Reader()
    files = tuple(config_files(file))
    for path in files:
        reader.add_file(path)
    reader.add_environment(os.environ)
    values = {name: reader.section(name, options) for name, options in SECTIONS.items()}
    scripts = reader.scripts()
    providers = reader.providers()
    chosen = reader.dsn(values["postgres"]["dsn"], dsn)
    reader.finish()
    return assemble(
        values,
        scripts=scripts,
        providers=providers,
        dsn=chosen,
        socket=socket_path(socket, serving=True),
        files=files,
        shown=tuple(reader.shown),
        reread=partial(load, file, dsn=dsn, socket=socket),
    )


def config_files(file: Path | None) -> list[Path]:
    if named := file or os.environ.get("DRIPD_CONFIG"):
        return [Path(named)]
    usual = [ETC / "dripd.toml", *sorted((ETC / "conf.d").glob("*.toml"))]
    return [path for path in usual if path.is_file()]


def assemble(
    values: Mapping[str, Mapping[str, object]],
    *,
    scripts: Mapping[str, ScriptSettings],
    providers: Mapping[str, ProviderSettings],
    dsn: Secret | None,
    socket: Path,
    files: tuple[Path, ...],
    shown: tuple[Shown, ...],
    reread: Callable[[], Config],
) -> Config:
    daemon, logging, engine = values["daemon"], values["log"], values["engine"]
    gateway = values["gateway"]
    signing = gateway["secret"]
    roles = cast("Mapping[str, tuple[str, ...]]", values["admin.roles"])
    kept = cast("Mapping[str, int]", values["reputation"])
    return Config(
        dsn=dsn,
        patience_ms=cast("Millis", values["postgres"]["patience"]),
        roster=Roster(**roles),
        daemon=DaemonConfig(
            env=str(daemon["env"]),
            node=str(daemon["node"]) or sockets.gethostname(),
            drain_timeout_ms=cast("Millis", daemon["drain_timeout"]),
        ),
        log=LogConfig(level=str(logging["level"]), format=cast("Format", logging["format"])),
        engine=filled(Tuning, engine),
        guard=Guard(
            bounces_permille=kept["most_bounces"],
            complaints_permille=kept["most_complaints"],
            least=kept["least"],
            window_ms=Millis(kept["window"]),
        ),
        metrics_listen=str(values["metrics"]["listen"]),
        metrics_campaigns=cast("int", values["metrics"]["campaigns"]),
        gateway=GatewayConfig(
            listen=str(gateway["listen"]),
            public_url=str(gateway["public_url"]),
            secret=signing if isinstance(signing, Secret) and signing else None,
        ),
        net_allow=cast("tuple[str, ...]", values["net"]["allow"]),
        journal_fsync=str(values["journal"]["fsync"]),
        scripts=scripts,
        providers=providers,
        state=state_dir(),
        socket=socket,
        files=files,
        shown=shown,
        reread=reread,
    )


def filled(kind: type[T], values: Mapping[str, Any]) -> T:
    """A *kind* whose fields are named as *values* are, durations with `_ms` behind."""
    names = (one.name for one in fields(kind))
    return kind(**{name: values[name.removesuffix("_ms")] for name in names})


class Reader:
    """The layers on top of each other, the faults found so far, and where values come from."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.shown: list[Shown] = []
        self._tree: Tree = {}
        self._origin: dict[str, str] = {}

    def add_file(self, path: Path) -> None:
        try:
            tree = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            self._fault(str(path), f"cannot be read: {error.strerror}", "name another --config")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self._fault(str(path), f"is no TOML: {error}", "see `dripd config schema`")
        else:
            self._merge(self._tree, tree, "", f"file:{path}")

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """`DRIPD_SECTION__KEY=value` for every name that has a double underscore."""
        for name, value in sorted(environ.items()):
            *above, key = name.removeprefix("DRIPD_").lower().split("__")
            if not name.startswith("DRIPD_") or not above:
                continue
            tree: Tree = {key: value}
            for part in reversed(above):
                tree = {part: tree}
            self._merge(self._tree, tree, "", f"env:{name}")

    def section(self, name: str, options: Mapping[str, Option]) -> dict[str, object]:
        """The values of section *name*; a value with a fault is its default."""
        found = self._take(name)
        for key in found.keys() - options.keys():
            self._unknown(f"{name}.{key}", key, options)
        return {key: self._read(name, key, option, found) for key, option in options.items()}

    def scripts(self) -> dict[str, ScriptSettings]:
        """`[script.NAME]`."""
        found: dict[str, ScriptSettings] = {}
        for name, table in self._take("script").items():
            section = f"script.{name}"
            if not isinstance(table, dict):
                self._fault(section, "must be a table", f"write [{section}]")
                continue
            for key in table.keys() - SCRIPT.keys():
                self._unknown(f"{section}.{key}", key, SCRIPT)
            read = {k: self._read(section, k, option, table) for k, option in SCRIPT.items()}
            if not table.get("url"):
                self._fault(f"{section}.url", "is missing", SCRIPT["url"].doc)
            found[name] = ScriptSettings(
                url=str(read["url"]),
                secret=cast("Secret", read["secret"] or Secret("")),
                timeout_ms=cast("Millis", read["timeout"]),
            )
        return found

    def providers(self) -> dict[str, ProviderSettings]:
        """`[provider.NAME]`, and the `sink` that is always there."""
        tables = self._take("provider")
        for extra in sorted(self._tree):
            self._unknown(
                extra, extra, {name.split(".")[0] for name in SECTIONS} | {"provider", "script"}
            )
        found = {"sink": ProviderSettings(name="sink", kind="sink")}
        for name, table in tables.items():
            if not isinstance(table, dict):
                self._fault(f"provider.{name}", "must be a table", f"write [provider.{name}]")
                continue
            found[name] = self._provider(name, table)
        return found

    def dsn(self, configured: object, flag: str | None) -> Secret | None:
        """`--dsn`, else `DRIPD_DSN`, else the configured one; None if there is none."""
        origin = self._origin.get("postgres.dsn", "")
        given = flag or os.environ.get("DRIPD_DSN")
        if given:
            origin = "flag:--dsn" if flag else "env:DRIPD_DSN"
            self.shown = [s for s in self.shown if s.key != "postgres.dsn"]
            self.shown.insert(0, Shown(key="postgres.dsn", value="***", origin=origin))
            return Secret(given)
        if not isinstance(configured, Secret) or not configured:
            return None
        if urlsplit(configured.reveal()).scheme not in {"postgres", "postgresql"}:
            hint = "write postgresql://USER@HOST:PORT/DATABASE"
            self._fault("postgres.dsn", "is no address of a Postgres", hint)
        written = self._origin.get("postgres.dsn:inline") is not None
        if written and origin.startswith("file:") and has_password(configured.reveal()):
            hint = 'write the whole DSN to a file and dsn = "file:PATH", or set DRIPD_DSN'
            self._fault("postgres.dsn", "holds a password inline", hint)
        return configured

    def finish(self) -> None:
        """Raise `ConfigError` if anything was wrong."""
        if self.faults:
            first = self.faults[0]
            more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
            raise ConfigError(
                f"{first.path} {first.message}{more}",
                faults=tuple(self.faults),
                hint=first.hint,
            )

    def _merge(self, into: Tree, tree: Mapping[str, object], above: str, origin: str) -> None:
        for key, value in tree.items():
            path = f"{above}{key}"
            beneath = into.get(key)
            if isinstance(value, dict):
                if not isinstance(beneath, dict):
                    beneath = into[key] = {}
                    self._origin[path] = origin
                self._merge(beneath, value, f"{path}.", origin)
            else:
                into[key] = value
                self._origin[path] = origin

    def _take(self, name: str) -> Tree:
        """Remove the table *name* from the tree; what is left at the end is unknown."""
        *above, last = name.split(".")
        tree: object = self._tree
        for part in above:
            tree = tree.get(part) if isinstance(tree, dict) else None
        found = tree.pop(last, {}) if isinstance(tree, dict) else {}
        if above and self._tree.get(above[0]) == {}:
            del self._tree[above[0]]
        if isinstance(found, dict):
            return found
        self._fault(name, "must be a table", f"write [{name}]")
        return {}

    def _read(self, section: str, key: str, option: Option, found: Tree) -> object:
        path = f"{section}.{key}"
        if key not in found:
            self._show(path, option.default)
            return option.default
        try:
            value = option.parse(found[key])
        except ValueError as error:
            self._fault(path, str(error), option.doc)
            return option.default
        if not option.reference:
            self._show(path, value)
            return value
        self._show(path, "***")
        if option.secret:
            return self._secret(path, value, option.least)
        return Secret(self._dereference(path, str(value)))

    def _provider(self, name: str, table: Tree) -> ProviderSettings:
        section = f"provider.{name}"
        known = {key: table.pop(key) for key in PROVIDER if key in table}
        read = {k: self._read(section, k, option, known) for k, option in PROVIDER.items()}
        options, secrets = {}, {}
        for key, value in table.items():
            if SECRET_NAME.search(key):
                secrets[key] = self._secret(f"{section}.{key}", value)
                self._show(f"{section}.{key}", "***")
            else:
                options[key] = self._option(f"{section}.{key}", value)
                self._show(f"{section}.{key}", value)
        if name == "sink" and read["kind"] != "sink":
            self._fault(f"{section}.kind", "the provider sink is of kind sink", "rename yours")
        for key in ("webhook_secret", "inbound_secret"):
            read[key] = read[key] or Secret("")
        settings = filled(
            ProviderSettings, {**read, "name": name, "options": options, "secrets": secrets}
        )
        self._try(settings)
        return settings

    def _try(self, settings: ProviderSettings) -> None:
        """What its adapter refuses is a fault, unless it only follows from one of the same key."""
        told = {fault.path for fault in self.faults}
        try:
            policy_of(build(settings, LENT), settings)
        except ConfigError as error:
            for one in error.faults:
                if one.path not in told:
                    self._fault(one.path, one.message, one.hint, code=one.code)

    def _option(self, path: str, value: object) -> object:
        """An adapter's own option; from the environment, read as TOML where it is any."""
        if isinstance(value, str) and REFERENCE.fullmatch(value):
            return self._dereference(path, value)
        if isinstance(value, str) and self._origin.get(path, "").startswith("env:"):
            try:
                return tomllib.loads(f"v = {value}")["v"]
            except tomllib.TOMLDecodeError:
                return value
        return value

    def _secret(self, path: str, value: object, least: int = 0) -> Secret:
        if value == "":
            return Secret("")
        if not isinstance(value, str) or not REFERENCE.fullmatch(value):
            hint = 'write "file:PATH", "env:NAME" or "cred:NAME"'
            self._fault(path, "is a secret written inline", hint)
            return Secret("")
        found = self._dereference(path, value)
        if 0 < len(found) < least:
            hint = "make one with: openssl rand -hex 32"
            self._fault(path, f"is shorter than {least} characters", hint)
        return Secret(found)

    def _dereference(self, path: str, value: str) -> str:
        """What *value* refers to; text that is no reference is itself."""
        match = REFERENCE.fullmatch(value)
        if match is None:
            self._origin[f"{path}:inline"] = ""
            return value
        try:
            found = fetch(match[1], match[2])
            why = "" if found else "is empty"
        except (OSError, KeyError, UnicodeDecodeError) as error:
            found, why = "", f"cannot be read: {why_unread(error)}"
        if why:
            self._fault(path, f"refers to {value}, which {why}", MENDING[match[1]])
        return found

    def _unknown(self, path: str, key: str, options: Iterable[str]) -> None:
        hint = near(key, options, f"known: {', '.join(sorted(options))}")
        self._fault(path, "is unknown", hint, code="unknown_option")

    def _fault(self, path: str, message: str, hint: str, *, code: str = "bad_value") -> None:
        origin = self._origin.get(path)
        where = f" ({origin})" if origin else ""
        self.faults.append(Fault(code=code, path=path, message=message + where, hint=hint))

    def _show(self, path: str, value: object) -> None:
        origin = self._origin.get(path, "default")
        self.shown.append(Shown(key=path, value=value, origin=origin))


def why_unread(error: OSError | KeyError | UnicodeDecodeError) -> str:
    match error:
        case OSError():
            return error.strerror or str(error)
        case KeyError():
            return f"{error.args[0]} is not set"
        case _:
            return "it is no UTF-8"


def fetch(how: str, what: str) -> str:
    """The value behind a reference; raises `OSError` or `KeyError` where there is none."""
    if how == "env":
        return os.environ[what]
    path = credential(what) if how == "cred" else Path(what)
    return path.read_bytes().decode().rstrip("\r\n")


def credential(name: str) -> Path:
    """Where systemd put it for this process; for one started by hand, the running unit's."""
    of_unit = UNIT_SECRETS / name
    if "CREDENTIALS_DIRECTORY" not in os.environ and os.access(of_unit, os.R_OK):
        return of_unit
    return Path(os.environ["CREDENTIALS_DIRECTORY"]) / name


def has_password(dsn: str) -> bool:
    parts = urlsplit(dsn)
    return bool(parts.password) or "password" in parse_qs(parts.query)
