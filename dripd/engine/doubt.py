"""It may have left: what is done about a message in doubt, and what does every attempt send?

A provider that honours a key is asked again under it, with the very bytes of the first
attempt, as long as the key surely lives; of any other the message is presumed sent once
evidence is no longer to be expected, or a person says. The step waits for all of that in a
lane of its own kind, on record as `unknown` from the first moment: a stop, a cap, a window
that closes can end its run or keep it waiting, but never make it unsent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from dripd.campaigns.enrollment import (
    FLAG_AMBIGUOUS,
    FLAG_KEPT,
    PRESUMED,
    WORDS_KEPT_MS,
    Change,
    Kept,
    Leased,
    LogState,
)
from dripd.campaigns.event import (
    Deferred,
    Held,
    Presumed,
    Retryable,
    Settled,
    StepEvent,
    Throttled,
    Uncertain,
    Unknown,
)
from dripd.campaigns.version import Version
from dripd.channels.base import Channel, Message, ProviderSettings
from dripd.channels.options import refusal
from dripd.clock import Instant, Millis
from dripd.policy import gate
from dripd.policy.advance import again_at
from dripd.policy.perform import Rendered, Verdict, again, suppressed
from dripd.policy.rooms import Rooms, step_times

KEY_LIFE_SHARE: Final = 0.8
"""Of a key's life, the part in which it is relied on: clocks differ, requests take time."""

LOST: Final = "words_lost"
"""Why a message that a dead daemon sent in vain is not sent again: it could not be the same."""

UNTOUCHED: Final = frozenset({"connect", "connect_timeout", "cancelled"})
"""Reasons of attempts of which the provider has seen no byte: nothing of them is kept."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What `[provider.NAME]` says of messages in doubt; `word`: retry, presume, ask.

    `life_ms`: from the first attempt on a key is relied on, or evidence waited for.
    """

    word: str
    life_ms: Millis


AT_ONCE: Final = Policy("presume", Millis(0))

NOTICE: Final = Policy("pass", Millis(0))
"""What is told to people of the house owes no delivery: nobody waits for evidence of it."""


def policy_of(channel: Channel, settings: ProviderSettings | None = None) -> Policy:
    """The policy for *channel*: what *settings* say, else as its provider honours keys.

    Raises `ConfigError` where a message is to be sent again and its provider knows no key.
    """
    repeats = channel.repeats
    can_repeat = repeats.key_ms > 0 and not repeats.sticks_5xx
    word = settings.unknown if settings is not None else ""
    word = word or ("retry" if can_repeat else "presume")
    after = settings.unknown_after_ms if settings is not None else None
    if settings is not None and word == "retry" and not can_repeat:
        message = "could send twice by a retry: this provider honours no idempotency key"
        raise refusal(settings, "unknown", message, '"presume" or "ask"')
    if word == "retry":
        life = Millis(int(repeats.key_ms * KEY_LIFE_SHARE))
        return Policy(word, life if after is None else Millis(min(after, life)))
    return Policy(word, repeats.evidence_ms if after is None else after)


# what every attempt sends


def words_of(message: Message, rendered: Rendered) -> dict[str, object]:
    """*message* as it is kept; files go with the version and are not."""
    return {
        "sender": [rendered.sender.id, rendered.sender.address],
        "key": message.idempotency_key,
        "to": rendered.to,
        "subject": rendered.subject,
        "text": rendered.text,
        "html": rendered.html,
        "segments": rendered.segments,
        "unsubscribe": rendered.unsubscribe,
    }


def mark(message: Message, at: Instant) -> str:
    """What a journal says of a message that leaves: when it was rendered, and its digest, by
    which a later rendering is known to be the same to the byte."""
    unsubscribe = message.headers.get("List-Unsubscribe", "")
    told = (message.idempotency_key, message.channel, message.sender, message.to)
    words = (message.subject, message.text, message.html, unsubscribe)
    digest = blake2b("\0".join((*told, *words)).encode("utf-8", "replace"), digest_size=12)
    return f"{at}:{digest.hexdigest()}"


def rendered_at(marked: str) -> Instant:
    """The instant in a mark, at which the message must be rendered to be the same."""
    at = marked.partition(":")[0]
    return Instant(int(at) if at.isdigit() else 0)


# what is made of an answer


def judged(
    policy: Policy,
    provider: str,
    leased: Leased,
    event: StepEvent,
    now: Instant,
    words: dict[str, object] | None,
) -> tuple[StepEvent, Kept | None]:
    """What *event*, the outcome of an attempt at *leased*, comes to, and what is to be kept.

    *words* None: what the message said is lost with the daemon that sent it. Then whoever
    releases the step begins another delivery.
    """
    if leased.flags & FLAG_AMBIGUOUS:
        return event, None
    if isinstance(event, Unknown):
        return _doubt(policy, provider, leased, event, now, words)
    if leased.flags & FLAG_KEPT or not is_seen(event):
        return event, None
    if words is None:
        return Held(reason="step_failed", failed=LOST), None
    until = Instant(now + WORDS_KEPT_MS)
    return event, Kept(provider=provider, since=now, until=until, words=words)


def is_seen(event: StepEvent) -> bool:
    """Has the provider seen the message, and will it see it again?"""
    if isinstance(event, Retryable):
        return event.reason not in UNTOUCHED
    return isinstance(event, Throttled | Unknown)


def _doubt(
    policy: Policy,
    provider: str,
    leased: Leased,
    event: Unknown,
    now: Instant,
    words: dict[str, object] | None,
) -> tuple[StepEvent, Kept | None]:
    if policy.word == "pass":
        return event, None
    if policy.word == "ask":
        return Uncertain(reason=event.reason, due_at=None), None
    is_same = leased.kept is not None and leased.kept.provider == provider
    since = leased.kept.since if is_same and leased.kept is not None else now
    until = Instant(since + policy.life_ms)
    if until <= now:
        return Unknown(reason=PRESUMED), None
    if policy.word == "presume":
        return Uncertain(reason=event.reason, due_at=until), Kept(
            provider=provider, since=since, until=until
        )
    kept = Kept(provider=provider, since=since, until=until, words=words)
    due = again_at(leased, now) if words is not None else until
    return Uncertain(reason=event.reason, due_at=Instant(min(due, until))), kept


def keep(change: Change, kept: Kept | None) -> None:
    """Let *change* carry what further attempts need, where there are any."""
    if kept is not None and change.stays and change.next is not None:
        change.keep = kept
        change.next.flags |= FLAG_KEPT


# a step in doubt comes up


def look(
    leased: Leased,
    version: Version,
    now: Instant,
    rooms: Rooms,
    providers: Mapping[str, object],
    margin: Millis = Millis(0),
) -> StepEvent | None:
    """What became of the attempt before; None: it may be made again, its window open for *margin*."""
    kept = leased.kept or Kept()
    if kept.state == LogState.ACCEPTED:
        return Settled()
    if kept.state == LogState.FAILED:
        return Settled(reason=kept.reason or "failed")
    if kept.state != LogState.UNKNOWN or kept.reason == PRESUMED:
        return Presumed()
    if kept.until is None and not leased.flags & FLAG_KEPT:
        return Uncertain(reason=kept.reason, due_at=None)
    if kept.until is None or now >= kept.until:  # what was kept goes when its time is over
        return Presumed()
    if kept.provider not in providers or kept.words is None:
        return wait(leased)
    _, zone, window = step_times(
        rooms,
        version,
        leased.step_no,
        leased.account_id,
        leased.timezone,
        leased.flags & ~FLAG_AMBIGUOUS,
    )
    always = ("active", True)
    shut = gate.judge(now, window=window, zone=zone, account=always, margin=margin)
    if not isinstance(shut, Deferred):
        return None
    return wait(leased, shut.until)


def wait(leased: Leased, until: Instant | None = None) -> Deferred:
    """It waits until then, but no longer than anybody waits for evidence."""
    last = leased.kept.until if leased.kept is not None else None
    ends = [at for at in (until, last) if at is not None]
    return Deferred(reason="unknown", until=min(ends, default=None), alone=True)


def said(leased: Leased, version: Version) -> Verdict:
    """What the message said when it left, if it may still be said."""
    if leased.suppressed:
        return suppressed(version.steps[leased.step_no])
    return again(leased, version) or wait(leased)


def marks(messages: Sequence[Message]) -> list[str]:
    """What the journal is to say of *messages*, which may be sent again."""
    return [mark(one, one.ref.at) if isinstance(one.ref, Rendered) else "" for one in messages]
