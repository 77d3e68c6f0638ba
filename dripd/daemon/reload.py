"""What takes effect when a running daemon reads its configuration again, and what does not?

A file with faults changes nothing. What needs a restart is named, not applied by halves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dripd import log
from dripd.clock import SystemClock
from dripd.config import Config
from dripd.daemon.notify import notify, reloading
from dripd.errors import ConfigError
from dripd.metrics import Registry
from dripd.options import is_live


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Keys (`log.level`) whose values differ: those that are in force now, and the others."""

    now: tuple[str, ...]
    restart: tuple[str, ...]


def compare(old: Config, new: Config) -> Changes:
    """Every key whose value or secret has changed."""
    before = {one.key: one.value for one in old.shown}
    after = {one.key: one.value for one in new.shown}
    keys = {key for key in before | after if before.get(key) != after.get(key)}
    names = old.providers.keys() | new.providers.keys()
    keys |= {
        f"provider.{name}"
        for name in names
        if old.providers.get(name) != new.providers.get(name)
        and not any(key.startswith(f"provider.{name}.") for key in keys)
    }
    if old.dsn != new.dsn:
        keys.add("postgres.dsn")
    return Changes(
        now=tuple(sorted(filter(is_live, keys))),
        restart=tuple(sorted(key for key in keys if not is_live(key))),
    )


class Reloader:
    """Reads the configuration again, and applies what can be applied."""

    def __init__(
        self, config: Config, metrics: Registry, apply: Callable[[Config], None]
    ) -> None:
        self.config = config
        self.generation = 1
        self.waiting: tuple[str, ...] = ()
        """Keys whose new values wait for a restart."""
        self._started = config
        self._metrics = metrics
        self._apply = apply
        self._log = log.get("config")

    def reload(self) -> Mapping[str, object]:
        """What changed and what needs a restart. Raises `ConfigError`, and then changes nothing."""
        reloading()
        try:
            fresh = self.config.reread()
        except ConfigError as error:
            self._metrics["dripd_config_reload_success"].set(0)
            faults = [f"{fault.path} {fault.message}" for fault in error.faults]
            self._log.error("config.refused", faults=faults or [error.message])
            raise
        finally:
            notify("READY=1")
        changes = compare(self.config, fresh)
        self.waiting = compare(self._started, fresh).restart
        self.generation += 1
        if "log.level" in changes.now:
            log.set_level(fresh.log.level)
        self.config = fresh
        self._apply(fresh)
        self._tell(changes)
        return {
            "changed": bool(changes.now),
            "generation": self.generation,
            "in_force": list(changes.now),
            "needs_restart": list(self.waiting),
        }

    def on_signal(self) -> None:
        """As `reload`, for SIGHUP: a refusal is in the log."""
        try:
            self.reload()
        except ConfigError:
            return  # told by `reload`

    def _tell(self, changes: Changes) -> None:
        self._metrics["dripd_config_reload_success"].set(1)
        self._metrics["dripd_config_generation"].set(self.generation)
        at = self._metrics["dripd_config_last_reload_timestamp_seconds"]
        at.set(SystemClock().now() / 1000)
        self._log.info(
            "config.reloaded", generation=self.generation, in_force=list(changes.now)
        )
        if self.waiting:
            self._log.warning("config.waiting", needs_restart=list(self.waiting))
