"""What does a provider's section say? Typed reading of its options, with faults that lead there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Final

from dripd.channels.base import ProviderSettings
from dripd.errors import ConfigError, Fault, near

COMMON: Final = tuple(
    one.name.removesuffix("_ms")
    for one in fields(ProviderSettings)
    if one.name not in {"name", "options", "secrets"}
)
"""The keys that a provider of every kind has."""


def expect_only(
    settings: ProviderSettings, *, options: Collection[str] = (), secrets: Collection[str] = ()
) -> None:
    """Raise `ConfigError` with a fault for every key that the kind does not know."""
    known, own = (*options, *secrets, *COMMON), ", ".join(sorted({*options, *secrets}))
    unknown = [
        *(key for key in settings.options if key not in options),
        *(key for key in settings.secrets if key not in secrets),
    ]
    faults = tuple(
        Fault(
            code="unknown_option",
            path=f"provider.{settings.name}.{key}",
            message=f"kind {settings.kind} has no option {key!r}",
            hint=near(key, known, f"it knows {own or 'none'}, every kind {', '.join(COMMON)}"),
        )
        for key in unknown
    )
    if faults:
        raise ConfigError(f"{faults[0].path}: {faults[0].message}", faults=faults)


def flag(settings: ProviderSettings, key: str, *, default: bool) -> bool:
    """The boolean option *key*; raises `ConfigError` for anything else."""
    value = settings.options.get(key, default)
    if not isinstance(value, bool):
        raise refusal(settings, key, "must be true or false", "write it without quotes")
    return value


def text(settings: ProviderSettings, key: str, default: str = "") -> str:
    """The option *key* as printable ASCII; raises `ConfigError` for anything else."""
    value = settings.options.get(key, default)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise refusal(settings, key, "must be a text in ASCII", "write it in quotes")
    return value


def refusal(settings: ProviderSettings, key: str, message: str, hint: str = "") -> ConfigError:
    """The error for one bad key of a provider's section."""
    path = f"provider.{settings.name}.{key}"
    fault = Fault(code="bad_value", path=path, message=message, hint=hint)
    return ConfigError(f"{path} {message}", faults=(fault,), hint=hint)
