"""What the tails show of what the engine did."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dripd.clock import Instant
from dripd.daemon.tails import Shows
from dripd.policy.inbox_rows import EventRow


def event(**columns: Any) -> EventRow:
    return EventRow(
        id=1, account_id=7, kind="bounce", contact_ids=(3,), enrollment_id=None, step_key=None,
        campaign_id=None, conversation_ref=None, address=None, channel=None,
        occurred_at=Instant(0), payload={"type": "hard", "reply_text": "private"}, **columns,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "source"),
    [("mail:abc", "mail"), ("other:abc", None), ("mail", "mail"), (None, None), ("", None)],
)
def test_an_event_names_the_provider_that_told_of_it(
    key: str | None, source: str | None
) -> None:
    directory: Any = SimpleNamespace(accounts={}, versions={})
    shown = Shows(directory, {"mail"}).event(event(dedup_key=key))

    assert shown["source"] == source
    assert "private" not in str(shown)
