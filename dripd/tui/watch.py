"""What does a screen look at? A view or a tail, as the daemon last told of it.

Watches outlive a connection: what was shown stays, marked as stale, and goes on when the
daemon answers again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from dripd.admin.delta import apply
from dripd.errors import DripdError

LATELY: Final = 40
"""Notices of a tail that tell how much of it is shown: those of ten seconds."""

KEPT: Final = 2_000
"""Rows of a tail that a screen keeps."""

Answer = dict[str, Any]


def worded(message: str, hint: object) -> str:
    """What went wrong, and what to do if that is known."""
    return f"{message} ({hint})" if hint else message


def quiet() -> None:
    """What nobody wants to hear of."""


class Watch:
    """A reading method's answer, kept up to date; `changed` is called after each change."""

    def __init__(
        self,
        of: str,
        params: Mapping[str, object] | None = None,
        *,
        hz: float = 1.0,
        changed: Callable[[], None] = quiet,
    ) -> None:
        self.of = of
        self.params = dict(params or {})
        self.hz = self.usual_hz = hz
        self.changed = changed
        self.answer: Answer | None = None
        self.error = ""
        self.sub: int | None = None
        self.key: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Answer]:
        """The rows of the answer, none before there is one."""
        items = (self.answer or {}).get("items")
        return (
            [row for row in items if isinstance(row, dict)] if isinstance(items, list) else []
        )

    def opened(self, reply: Mapping[str, Any]) -> None:
        """The daemon has answered with the whole of it."""
        self.sub = reply.get("sub")
        self.key = tuple(map(str, reply.get("key", ())))
        result = reply.get("result")
        self.answer = dict(result) if isinstance(result, dict) else {}
        self.error = ""
        self.changed()

    def took(self, method: str, params: Mapping[str, Any]) -> None:
        """The daemon told of a change."""
        if method == "view.error":
            hint = (params.get("data") or {}).get("hint")
            self.error = worded(str(params.get("message", "failed")), hint)
        elif self.answer is not None:
            self.answer = apply(self.answer, params, self.key)
            self.error = ""
        self.changed()

    def failed(self, error: DripdError) -> None:
        self.error = worded(error.message, error.hint)
        self.changed()

    def request(self) -> tuple[str, dict[str, object]]:
        """The call that opens it."""
        return "view.open", {"of": self.of, "params": self.params, "hz": self.hz}


class Follow(Watch):
    """A tail; `params` are what is wanted. The newest row stands first."""

    def __init__(
        self,
        of: str,
        params: Mapping[str, object] | None = None,
        *,
        hz: float = 4.0,
        changed: Callable[[], None] = quiet,
    ) -> None:
        super().__init__(of, params, hz=hz, changed=changed)
        self._kept: deque[Answer] = deque(maxlen=KEPT)
        self.gap = 0
        self.n = 0
        self._last = 0
        self._lately: deque[tuple[int, int]] = deque(maxlen=LATELY)

    @property
    def rows(self) -> list[Answer]:
        return list(self._kept)

    def opened(self, reply: Mapping[str, Any]) -> None:
        self.sub, self.error, self.answer = reply.get("sub"), "", {}
        self._kept.clear()
        self._add(reply)
        self.changed()

    def took(self, method: str, params: Mapping[str, Any]) -> None:
        gap, rows = int(params.get("gap", 0)), params.get("rows")
        self.gap += gap
        self._lately.append((len(rows) if isinstance(rows, list) else 0, gap))
        self._add(params)
        self.changed()

    @property
    def one_in(self) -> int:
        """Of how many things one was shown lately: 1 where all were."""
        shown, gap = (sum(one[k] for one in self._lately) for k in (0, 1))
        return max(1, round((shown + gap) / shown)) if shown else 1

    def _add(self, said: Mapping[str, Any]) -> None:
        self.n = int(said.get("n", 0))
        rows = said.get("rows")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                self._last += 1
                self._kept.appendleft({**row, "_n": self._last})

    def request(self) -> tuple[str, dict[str, object]]:
        return "tail.open", {"of": self.of, "wanted": self.params, "hz": self.hz}
