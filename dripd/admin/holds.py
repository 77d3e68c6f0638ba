"""What does each hold mean, and what is to be done about it? One word of each, for all who tell.

`enroll explain` says what a step waits for, the console what to do; both say it of each
`hold_reason`, by the reason without what that names (`bad_date:birthday`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason in words."""

    waits: str
    """What a step that is held so waits for: a sentence, with the command that helps."""

    todo: str
    """What to do about it on the console, in a column."""


HOLDS: Final[Mapping[str, Hold]] = {
    "account_paused": Hold("the account is paused or closed: dripd account resume", "resume it: 2 Acct, p"),
    "approval": Hold("a person has to approve the message: dripd task list --kind approval", "decide: 5 Inbox"),
    "bad_date": Hold("the field holds no date: dripd contact update", "mend the contact's date"),
    "balance": Hold("the account cannot pay for it: dripd account deposit", "dripd account deposit"),
    "breaker": Hold("its provider or sender fails: it is tried again", "the provider fails; it is probed"),
    "cap": Hold("the account's day is spent", "waits for the next local day"),
    "catching_up": Hold(
        "it came due while no daemon was at work, while it was paused, or while its "
        "provider failed: such steps of an account take turns, at [engine] catchup_rate",
        "came due while nothing could be sent; goes paced",
    ),
    "connector_missing": Hold("its connector is not there: dripd connector set", "dripd connector set"),
    "frequency": Hold("the contact was written to lately", "waits for its next turn"),
    "inactive": Hold("the campaign is inactive or archived: dripd campaign activate", "activate it: 3 Camp, a"),
    "missing_tag": Hold("the contact lacks what the text names: dripd contact update", "fill what the text names"),
    "no_address": Hold("the contact has no address of this channel: dripd contact update", "give the contact an address"),
    "no_sender": Hold("no sender may be used: dripd sender list", "dripd sender set"),
    "no_subscription": Hold("the account has no active subscription", "dripd account set --subscription on"),
    "paused": Hold("the campaign is paused: dripd campaign resume", "resume it: 3 Camp, p"),
    "quarantined": Hold("it broke the work on it: dripd dead list", "look: 7 Fail"),
    "quota": Hold("the month's actions are spent", "a larger plan, or next month"),
    "rate": Hold("no token is left", "raise the rate, or wait"),
    "step_failed": Hold("what it did failed for good: dripd dead list", "look: 7 Fail"),
    "task": Hold("a person has to close its task: dripd task list", "finish it: 5 Inbox"),
    "too_long": Hold("the text needs more segments than the policy allows", "shorten the text"),
    "unknown": Hold(
        "whether the message left is not known: dripd delivery list --state unknown",
        "settle it: 7 Fail, unknown",
    ),
    "window": Hold("its window is closed", "waits for the window to open"),
}  # fmt: skip


def find_hold(reason: str) -> Hold | None:
    """The words for *reason*, whatever it names; None for one that nobody knows."""
    return HOLDS.get(reason.partition(":")[0])
