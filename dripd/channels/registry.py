"""Which adapter serves a kind of provider? The built-in table, and the entry points beside it.

An adapter is imported when the first provider of its kind is built, so that a command which
only reads the configuration loads no HTTP client.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from dripd.channels.base import Channel, Factory, ProviderSettings, Resources
from dripd.channels.options import refusal
from dripd.errors import near

GROUP: Final = "dripd.channels"
"""The entry points by which a third party adds a kind: `kind = "package.module:factory"`."""

KINDS: Final = {
    "mailgun": "dripd.channels.mailgun:create",
    "postmark": "dripd.channels.postmark:create",
    "resend": "dripd.channels.resend:create",
    "sendgrid": "dripd.channels.sendgrid:create",
    "ses": "dripd.channels.ses:create",
    "sink": "dripd.channels.sink:create",
    "slack": "dripd.channels.slack:create",
    "smtp": "dripd.channels.smtp:create",
    "twilio": "dripd.channels.twilio:create",
    "webhook": "dripd.channels.webhook:create",
}
"""The built-in kinds, each with its `Factory`. No third party can take one of these names."""


def kinds() -> frozenset[str]:
    """Every kind that a `[provider.NAME]` may be of. Reads the installed packages' metadata."""
    return frozenset(KINDS) | {point.name for point in entry_points(group=GROUP)}


def build(settings: ProviderSettings, resources: Resources) -> Channel:
    """Make the channel of *settings*; no connection is opened yet.

    Raises `ConfigError` if nothing serves the kind, its package cannot be imported, or the
    factory refuses the settings.
    """
    return _load(settings)(settings, resources)


def _load(settings: ProviderSettings) -> Factory:
    point = _find(settings.kind)
    if point is None:
        known = sorted(kinds())
        message = f"{settings.kind!r} is no adapter" if settings.kind else "is missing"
        hint = near(settings.kind, known, f"one of {', '.join(known)}")
        raise refusal(settings, "kind", message, hint)
    try:
        return cast("Factory", point.load())
    except (ImportError, AttributeError) as error:
        message = f"has the adapter {point.value!r}, which cannot be loaded: {error}"
        hint = "install or repair the package that brings it"
        raise refusal(settings, "kind", message, hint) from error


def _find(kind: str) -> EntryPoint | None:
    if kind in KINDS:
        return EntryPoint(name=kind, value=KINDS[kind], group=GROUP)
    return next(iter(entry_points(group=GROUP, name=kind)), None)
