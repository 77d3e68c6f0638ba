"""Which words may stand where? The closed sets, for all who take or offer them.

The daemon refuses any other word, a command and its completion offer these, the console's
filters too. Plain types: a command that only asks the socket loads no msgspec for them.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

Channel: TypeAlias = Literal["email", "sms"]
Inflight: TypeAlias = Literal["pin", "terminate", "migrate"]
StopMode: TypeAlias = Literal["hold", "drain", "remove_all"]
ResumeMode: TypeAlias = Literal["keep", "shift"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]
"""The worst last."""

ListKind: TypeAlias = Literal["bucket", "selection", "project", "board"]
TaskKind: TypeAlias = Literal[
    "approval", "manual_email", "general", "call", "custom", "follow_up", "request", "sale"
]
TaskState: TypeAlias = Literal["open", "done", "cancelled"]
OperatorRole: TypeAlias = Literal["admin", "member", "viewer"]
AccountStatus: TypeAlias = Literal["active", "paused", "closed"]
CampaignStatus: TypeAlias = Literal[
    "draft", "active", "paused", "draining", "inactive", "archived"
]
RunStatus: TypeAlias = Literal[
    "waiting", "held", "executing", "completed", "removed", "terminated"
]
DeliveryState: TypeAlias = Literal["leased", "accepted", "failed", "unknown", "cancelled"]
Evidence: TypeAlias = Literal["accepted", "failed"]


def words(of: Any) -> tuple[str, ...]:
    """The words of one of these types, in their order."""
    return get_args(of)
