"""What stands behind the console: a daemon, or a recording of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dripd.errors import DripdError
from dripd.tui.watch import Watch


class Daemon(Protocol):
    """`dripd.tui.link.Link`, or `dripd.tui.tape.Replay`."""

    hello: dict[str, Any]
    up: bool
    trouble: DripdError | None
    lost_at: float | None
    is_past: bool
    """Whether it is a recording, in which nothing can be changed."""

    @property
    def word(self) -> str:
        """What is seen while it is `up`: LIVE, a recording, whether one is made."""

    def jump(self, by_s: float) -> bool:
        """Move through a recording by so many seconds; False: this is none."""

    def watch(self, watch: Watch) -> None: ...

    def unwatch(self, watch: Watch) -> None: ...

    def pace(self, watch: Watch, hz: float) -> None: ...

    async def call(
        self, method: str, params: Mapping[str, object] | None = None, *, once: bool = False
    ) -> Any: ...

    async def run(self) -> None: ...

    async def close(self) -> None: ...
