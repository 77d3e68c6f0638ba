"""What is wrong with this installation, and how is it mended? Checks over facts, in order.

Every check answers: what was looked at, whether it is well, what was seen, and where it is
not, what to do. What is merely worth knowing is well. Nothing here changes anything.
"""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import trio

from dripd.admin.client import Client
from dripd.admin.place import RUN, UNIT_STATE, socket_path, stands
from dripd.admin.server import MOST_PATH_BYTES
from dripd.clock import SystemClock
from dripd.config import Config, fetch
from dripd.daemon import zones as zones_of
from dripd.daemon.gauges import installed
from dripd.errors import DripdError, StoreError
from dripd.store import embedded, migrate
from dripd.store.desk_doctor import Facts, examine
from dripd.store.postgres import HOT_CONNECTIONS, SINK_CONNECTIONS

NEEDED: Final = HOT_CONNECTIONS + SINK_CONNECTIONS + 5
"""Connections of one daemon: the hot ones, the sink's, two of the desk, one of the views, two
of the gateway."""

SKEW_MS: Final = 2_000

CROWD: Final = 5_000
"""Rows at the doors from which on it matters whose they are."""

SHOWN: Final = 20
"""Names in a list."""

SNAPSHOT_MIN: Final = 60
"""Minutes from which on an open transaction is too old: a backup takes less."""

SPACE: Final = 256 << 20
"""Bytes below which the state directory is called full: a day of journal."""

OPEN_FILES: Final = 256
"""Descriptors of a daemon besides its providers' connections."""


class Asleep(StoreError):
    """There is no server to look at, and that is in order."""


class Check(NamedTuple):
    """One line of the answer; `hint` is empty where it is well."""

    name: str
    ok: bool
    detail: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """What the checks look at. `server` None: nobody answers, and `error` says why."""

    config: Config
    server: Facts | None
    deployment: Facts | None
    schema: migrate.SchemaStatus | None
    error: DripdError | None
    now: int


def diagnose(config: Config) -> list[Check]:
    """Look at everything that can be looked at; takes as long as the database takes to answer."""
    zones_of.pin()
    patient = look_at(config)
    found = [check(patient) for check in HOST]
    if patient.server is None:
        return [*found, unreachable(patient)]
    found += [check(patient, patient.server) for check in SERVER]
    if patient.deployment is not None:
        found += [check(patient, patient.deployment) for check in DEPLOYMENT]
    return found


def in_place(config: Config, socket: str | None) -> Config:
    """*config* with the places of the daemon that commands find here, by *socket* where it is
    given: the unit's, where that runs and the user has no daemon of his own."""
    path = socket_path(socket)
    state = UNIT_STATE if path == RUN else config.state
    return replace(config, socket=path, state=state)


def look_at(config: Config) -> Patient:
    server = deployment = schema = error = None
    try:
        dsn = dsn_of(config)
        server, deployment = trio.run(examine, dsn)
        schema = migrate.status(dsn)
    except DripdError as broken:
        error = broken
    return Patient(
        config=config,
        server=server,
        deployment=deployment,
        schema=schema,
        error=error,
        now=SystemClock().now(),
    )


def dsn_of(config: Config) -> str:
    """The DSN that a daemon would use; an embedded server is not started for the looking."""
    if config.dsn is not None:
        return config.dsn.reveal()
    found = embedded.status(config.state)
    if found.state != "up" or found.dsn is None:
        raise Asleep(f"the embedded Postgres is {found.state}; dripd run starts it")
    return found.dsn


def judge(name: str, ok: bool, detail: str, hint: str) -> Check:
    return Check(name, ok, detail, "" if ok else hint)


def unreachable(patient: Patient) -> Check:
    error = patient.error
    assert error is not None
    if isinstance(error, Asleep):
        return Check("database", True, error.message, "")
    return Check("database", False, error.message, error.hint or "check the DSN and the server")


# What belongs to this machine


def configuration(patient: Patient) -> Check:
    files = ", ".join(map(str, patient.config.files)) or "no file, defaults only"
    return judge("config", True, files, "")


def state_directory(patient: Patient) -> Check:
    path = patient.config.state
    if not path.exists():
        parent = next(one for one in path.parents if one.exists())
        ok = os.access(parent, os.W_OK)
        return judge(
            "state_directory", ok, f"{path} will be made", f"make {path} for this user"
        )
    if not path.is_dir():
        hint = "name a directory: DRIPD_STATE"
        return Check("state_directory", False, f"{path} is no directory", hint)
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if path == UNIT_STATE and found.st_uid != os.geteuid():
        may = mode & stat.S_IRWXU == stat.S_IRWXU
    else:
        may = os.access(path, os.W_OK | os.X_OK)
    if not may:
        return Check(
            "state_directory", False, f"{path} cannot be written",
            f"chown it to user {os.geteuid()}, on a disk that takes writes",
        )  # fmt: skip
    return judge(
        "state_directory", not mode & 0o002, f"{path} ({mode:04o})", f"chmod o-w {path}"
    )


def journal_space(patient: Patient) -> Check:
    path = patient.config.state
    place = path if path.exists() else next(one for one in path.parents if one.exists())
    free = shutil.disk_usage(place).free
    return judge(
        "journal_space",
        free >= SPACE,
        f"{free >> 20} MiB free in {place}",
        f"free at least {SPACE >> 20} MiB, or set DRIPD_STATE to a larger disk",
    )


def socket(patient: Patient) -> Check:
    path = patient.config.socket
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        return Check(
            "socket", False, f"{path} is too long", "set DRIPD_SOCKET to a shorter path"
        )
    if not stands(path):
        return Check("socket", True, f"{path}: no daemon listens", "")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except PermissionError:
        return Check("socket", False, f"no access to {path}", "ask for the group dripd")
    closed = not stat.S_IMODE(path.parent.stat().st_mode) & 0o001 or not mode & 0o006
    return judge("socket", closed, f"{path} ({mode:04o})", f"chmod o-rwx {path.parent}")


def daemon(patient: Patient) -> Check:
    path = patient.config.socket
    if not stands(path):
        return Check("daemon", True, "none runs here; dripd run starts one", "")
    try:
        with Client(path, timeout=5, name="doctor") as client:
            answer = client.call("daemon.ready")
    except DripdError as error:
        return Check("daemon", False, error.message, error.hint or "see its log")
    checks = answer.get("checks", []) if isinstance(answer, dict) else []
    sick = [f"{one['name']}: {one['detail']}" for one in checks if not one["ok"]]
    return judge("daemon", not sick, "; ".join(sick) or "ready", "dripd ready; dripd logs tail")


def providers(patient: Patient) -> Check:
    names = ", ".join(sorted(patient.config.providers))
    return Check("providers", True, f"{names}; their secrets can be read", "")


def open_files(patient: Patient) -> Check:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = OPEN_FILES + sum(one.max_connections for one in patient.config.providers.values())
    return judge(
        "open_files", most >= wanted, f"{most} descriptors, {wanted} wanted",
        f"LimitNOFILE={wanted} in the unit, or ulimit -n",
    )  # fmt: skip


def tzdata(patient: Patient) -> Check:
    version = installed("tzdata")
    return judge(
        "tzdata", bool(version), f"tzdata {version or 'missing'}", "pip install tzdata"
    )


HOST: Final[Sequence[Callable[[Patient], Check]]] = (
    configuration, state_directory, journal_space, socket, daemon, providers, open_files, tzdata,
)  # fmt: skip


# What belongs to the server


def database(_patient: Patient, server: Facts) -> Check:
    told = f"Postgres {server['version']} as {server['role']}"
    if server["version_num"] < migrate.OLDEST_SERVER:
        return Check("database", False, told, "dripd needs Postgres 15 or newer")
    if server["standby"]:
        return Check("database", False, f"{told}, a standby", "connect to the primary")
    if server["read_only"] == "on":
        hint = "set default_transaction_read_only to off for the role, database or server"
        return Check("database", False, f"{told}, which writes nothing", hint)
    return Check("database", True, told, "")


def schema(patient: Patient, _server: Facts) -> Check:
    found, error = patient.schema, patient.error
    if found is None:
        told = "cannot be read" if error is None else error.message
        return Check("schema", False, told, (error and error.hint) or "dripd db status")
    if found.applied > found.newest:
        detail = f"at {found.applied}, this dripd knows {found.newest}"
        return Check("schema", False, detail, "upgrade dripd on this machine")
    lacks = found.lacks
    return judge(
        "schema",
        not lacks,
        f"lacks {lacks}" if lacks else f"at {found.applied}",
        "dripd db migrate",
    )


def roles(_patient: Patient, server: Facts) -> Check:
    wanted = {"dripd_owner", "dripd_daemon", "dripd_writer", "dripd_reader"}
    lacks = sorted(wanted - set(server["roles"]))
    detail = f"lacks {', '.join(lacks)}" if lacks else "all four are there"
    return judge("roles", not lacks, detail, "dripd db migrate makes them")


def durability(_patient: Patient, server: Facts) -> Check:
    off = [name for name in ("fsync", "full_page_writes") if server[name] != "on"]
    detail = f"{', '.join(off)} is off" if off else "fsync and full_page_writes are on"
    return judge(
        "durability", not off, detail, "turn it on: a power cut would lose what was sent"
    )


def commits(_patient: Patient, server: Facts) -> Check:
    word = server["synchronous_commit"]
    hint = "SET it to on for the server: other systems' commits may be lost by a crash"
    return judge("synchronous_commit", word != "off", word, hint)


def vacuum(_patient: Patient, server: Facts) -> Check:
    word = server["autovacuum"]
    return judge("autovacuum", word == "on", word, "turn it on: the due steps bloat without it")


def connections(patient: Patient, server: Facts) -> Check:
    left = server["max_connections"] - server["reserved"] - server["connected"]
    alive = patient.deployment["alive"] if patient.deployment else 0
    detail = (
        f"{server['connected']} of {server['max_connections']} in use, a daemon needs {NEEDED}"
    )
    return judge(
        "max_connections", bool(alive) or left >= NEEDED, detail, "raise max_connections"
    )


def snapshots(_patient: Patient, server: Facts) -> Check:
    """What an open transaction sees no vacuum takes away, in no table."""
    minutes = server["snapshot_s"] // 60
    return judge(
        "old_snapshot", minutes < SNAPSHOT_MIN, f"the oldest has been open for {minutes} min",
        "end it: the due steps bloat meanwhile; pg_stat_activity says whose it is",
    )  # fmt: skip


def clock_skew(patient: Patient, server: Facts) -> Check:
    skew = patient.now - server["real_now"]
    return judge(
        "clock_skew", abs(skew) < SKEW_MS, f"this host is {skew / 1000:+.1f} s from the database",
        "run an NTP client on both",
    )  # fmt: skip


SERVER: Final[Sequence[Callable[[Patient, Facts], Check]]] = (
    database, schema, roles, durability, commits, vacuum, snapshots, connections, clock_skew,
)  # fmt: skip


# What belongs to the deployment


def rights(_patient: Patient, found: Facts) -> Check:
    hint = "GRANT dripd_daemon TO the role that the daemon connects as"
    return judge(
        "rights",
        found["may_work"],
        "the role may work" if found["may_work"] else "the role lacks rights",
        hint,
    )


def zones(_patient: Patient, found: Facts) -> Check:
    bad = [zone for zone in found["zones"] if not is_zone(zone)]
    detail = f"unknown: {', '.join(bad)}" if bad else f"{len(found['zones'])} in use, all known"
    return judge("timezones", not bad, detail, "dripd account set KEY --timezone IANA/NAME")


def is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def senders(patient: Patient, found: Facts) -> Check:
    bad = sorted(set(found["providers"]) - patient.config.providers.keys())
    detail = f"no [provider.NAME] for {', '.join(bad)}" if bad else "each has its provider"
    return judge("senders", not bad, detail, "add it to the configuration and restart")


def connectors(_patient: Patient, found: Facts) -> Check:
    bad = [secret for secret in found["secrets"] if not can_read(secret)]
    detail = f"cannot be read: {', '.join(bad)}" if bad else f"{len(found['secrets'])} secrets"
    return judge(
        "connectors", not bad, detail, "put it where the reference points to, for the daemon"
    )


def can_read(reference: str) -> bool:
    """Whether the secret behind *reference* is there for this user."""
    how, _, what = reference.partition(":")
    try:
        return bool(fetch(how, what))
    except (OSError, KeyError, UnicodeDecodeError):
        return False


def accounts(_patient: Patient, found: Facts) -> Check:
    bad = found["senderless"]
    detail = f"active campaigns, no sender: {', '.join(bad)}" if bad else "each can send"
    return judge("accounts", not bad, detail, "dripd sender set ADDRESS --account KEY")


def parked(_patient: Patient, found: Facts) -> Check:
    held = found["parked"]
    chosen = [one for one in held if not one.endswith((": paused", ": account_paused"))]
    detail = ", ".join(held) or "none"
    return judge("parked", not chosen, detail, "dripd account show KEY says what holds it")


def lost(_patient: Patient, found: Facts) -> Check:
    names = ", ".join(found["lost"])
    hint = "its work is taken over by any live daemon; see why it died"
    return judge(
        "daemons", not names, f"lost: {names}" if names else f"{found['alive']} alive", hint
    )


def versions(_patient: Patient, found: Facts) -> Check:
    n = found["versions"]
    return judge(
        "versions", n < 2, f"{n} among live daemons", "finish the upgrade: dripd node list"
    )


def queues(_patient: Patient, found: Facts) -> Check:
    waits = f"{found['pending']} requests and {found['events']} events wait"
    idle = not found["alive"] and found["pending"] + found["events"] > 0
    return judge("queues", not idle, waits, "no daemon is alive to take them: dripd run")


def crowding(_patient: Patient, found: Facts) -> Check:
    """Does one account crowd the doors?"""
    rows = [(row["requests"], row["events"], row["account"]) for row in found["queues"]]
    waiting = sum(requests + events for requests, events, _ in rows)
    requests, events, account = rows[0] if rows else (0, 0, "nobody")
    mine, told = requests + events, f"{account}: {requests} requests, {events} events"
    alone = found["tenants"] < 2
    return judge(
        "crowding", alone or waiting < CROWD or 2 * mine <= waiting, told,
        "the others take turns with it; what waits fills the disk: insert fewer at a time",
    )  # fmt: skip


def broken(_patient: Patient, found: Facts) -> Check:
    n = found["broken"]
    return judge("dead_letters", not n, f"{n} steps wait for somebody", "dripd dead list")


def unknown(_patient: Patient, found: Facts) -> Check:
    n = found["unknown"]
    return judge("unknown", not n, f"{n} deliveries", "dripd delivery list --state unknown")


def zone_rules(_patient: Patient, found: Facts) -> Check:
    """Daemons, this host and Postgres: who goes by other rules of zones than the others?"""
    here = zones_of.digest()
    others = [f"{node} ({word})" for node, word in found["zone_rules"] if word != here]
    apart = sorted(
        {zone for zone, at_s, ahead in found["offsets"] if is_apart(zone, at_s, ahead)}
    )
    told = [f"other rules than here ({here}): {', '.join(others)}"] if others else []
    told += [f"Postgres has other rules for {', '.join(apart[:SHOWN])}"] if apart else []
    return judge(
        "zone_rules", not told, "; ".join(told) or f"{here}, the same everywhere",
        "the same tzdata for all: upgrade dripd on every host, and the zones of Postgres",
    )  # fmt: skip


def is_apart(zone: str, at_s: int, ahead_s: int) -> bool:
    """Whether this host says otherwise of *zone* than Postgres."""
    return is_zone(zone) and zones_of.offset(ZoneInfo(zone), at_s) != ahead_s


DEPLOYMENT: Final[Sequence[Callable[[Patient, Facts], Check]]] = (
    rights, zones, zone_rules, senders, connectors, accounts, parked, lost, versions, queues, crowding, broken, unknown,
)  # fmt: skip
