"""Is a campaign fit to run? Everything that is wrong or doubtful about a definition.

Works offline: what only the account knows comes as `Known`, and is left alone where it is
not given. `check` reads and judges at once, so that one look finds every fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dripd.campaigns import bounds, caution, idle, lack, wording
from dripd.campaigns.definition import Definition
from dripd.campaigns.known import Known
from dripd.campaigns.lack import is_setting
from dripd.campaigns.parse import read
from dripd.errors import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found; `faults` refuse, `warnings` do not."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.faults

    def as_draft(self) -> Report:
        """The same for a draft, which may still lack settings: they become warnings."""
        lacking = tuple(fault for fault in self.faults if is_setting(fault.code))
        rest = tuple(fault for fault in self.faults if not is_setting(fault.code))
        return Report(faults=rest, warnings=(*lacking, *self.warnings))


def validate(definition: Definition, known: Known | None = None) -> Report:
    """Judge *definition* for publishing; for a draft see `Report.as_draft`."""
    account = known or Known()
    faults = [fault for rule in _FAULTS for fault in rule(definition, account)]
    warnings = [fault for rule in _WARNINGS for fault in rule(definition, account)]
    return Report(faults=_once(faults), warnings=_once(warnings))


def check(
    document: Mapping[str, object], known: Known | None = None, *, account: str = ""
) -> tuple[Definition | None, Report]:
    """Read and judge *document*; the definition is None where it could not be read.

    What follows only from a fault of reading is not said a second time.
    """
    shared = (known and known.templates) or {}
    definition, unread = read(document, account=account, shared=shared)
    if unread and not definition.steps:
        return None, Report(faults=unread)
    judged = validate(definition, known)
    if not unread:
        return definition, judged
    paths = [fault.path for fault in unread]
    more = tuple(fault for fault in judged.faults if not _follows(fault, paths))
    return None, Report(faults=(*unread, *more), warnings=judged.warnings)


def _follows(fault: Fault, paths: Sequence[str]) -> bool:
    """Is *fault* merely what a value that could not be read leaves behind?"""
    if fault.code == "unreachable":
        return True
    causes = _CAUSES.get(fault.code.partition(":")[0], ())
    keys = tuple(f"{fault.path}.{key}".lstrip(".") for key in causes)
    beneath = tuple(f"{key}[" for key in keys)
    return any(
        path in keys or path.startswith(beneath) or fault.code == f"missing:{path}"
        for path in paths
    )


_CAUSES: Mapping[str, tuple[str, ...]] = {
    "missing_settings": (
        "subject",
        "text",
        "html",
        "tag",
        "list",
        "ops",
        "campaign",
        "script",
        "connector",
        "network",
        "to",
        "field",
        "on",
        "cases",
    ),
    "missing": ("sender",),
}
"""The keys whose own fault explains a lack."""


def _once(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    return tuple(dict.fromkeys(faults))


_FAULTS = (
    lack.lacking,
    lack.lacking_actions,
    lack.no_sender,
    lack.no_file,
    lack.no_board,
    lack.no_person,
    lack.no_postal_address,
    lack.no_public_url,
    wording.uncompilable,
    wording.refused_fields,
    bounds.too_many,
    bounds.gaps,
    wording.long_texts,
    bounds.unplanned,
    bounds.dynamic_lists,
    bounds.unfit_ops,
    bounds.unfit_recipients,
    bounds.unfit_slots,
    bounds.unknown_zones,
    bounds.outside_window,
    bounds.unknown_calls,
    bounds.unreachable,
    bounds.unknown_steps,
    bounds.contradictions,
    bounds.no_time_left,
)

_WARNINGS = (
    caution.after_exit,
    caution.loose_resets,
    caution.idle_resets,
    idle.idle_policies,
    idle.idle_waits,
    caution.round_trips,
    caution.narrow_windows,
    caution.unwatched,
    caution.quiet_sales,
    caution.same_name,
    wording.doubtful_fields,
    wording.unknown_dates,
    wording.bare_tags,
    caution.unknown_targets,
    caution.no_network,
    caution.twice_done,
    lack.private_links,
)
