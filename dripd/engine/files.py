"""What goes with a mail: files from the store, the latest of them kept in memory.

Asked for just before a message leaves, only where its version attaches something. A file is
known by what it holds, so that what is kept never grows old.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from mimetypes import MimeTypes

import trio

from dripd.campaigns.attached import Attached
from dripd.campaigns.event import Deferred, Held
from dripd.channels.base import Attachment
from dripd.errors import StoreError
from dripd.log import get
from dripd.policy.perform import Rendered
from dripd.store.protocol import Store

KEPT_BYTES = 64 * 1024 * 1024
"""What is kept of all accounts together; what was used last, and fits, stays."""

log = get("send")

_TYPES = MimeTypes()
"""The types that Python knows by itself: the same on every machine."""


class Files:
    """Files by account and SHA-256."""

    def __init__(self, store: Store, most: int = KEPT_BYTES) -> None:
        self._store = store
        self._most = most
        self._kept: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._held = 0

    async def read(self, account_id: int, sha256: str) -> bytes | None:
        """What the file holds; None: it is not there. Raises `StoreError`."""
        place = (account_id, sha256)
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        with trio.CancelScope(shield=True):
            data = await self._store.read_attachment(account_id, sha256)
        if data is not None and place not in self._kept:
            self._keep(place, data)
        return data

    def _keep(self, place: tuple[int, str], data: bytes) -> None:
        self._kept[place] = data
        self._held += len(data)
        while self._held > self._most:
            self._held -= len(self._kept.popitem(last=False)[1])


async def enclose(files: Files, batch: Sequence[Rendered]) -> dict[int, Deferred | Held]:
    """Put into each of *batch* what goes with it; enrollment to why that could not be."""
    lacking: dict[int, Deferred | Held] = {}
    for rendered in batch:
        leased = rendered.leased
        wanted = rendered.version.steps[leased.step_no].attachments
        try:
            rendered.files = await read_files(files, leased.account_id, wanted)
        except StoreError as error:
            log.warning("store.lost", reason=error.code)
            lacking[leased.enrollment_id] = Deferred(reason="away", until=None)
        except LookupError as error:
            log.error("step.failed", enrollment_id=leased.enrollment_id, step_no=leased.step_no)
            why = f"the file {error} is not there"
            lacking[leased.enrollment_id] = Held(reason="quarantined", failed=why)
    return lacking


async def read_files(
    files: Files, account_id: int, wanted: Sequence[Attached]
) -> tuple[Attachment, ...]:
    """What an account's files hold.

    Raises `LookupError` for one that is not there, `StoreError`.
    """
    found: list[Attachment] = []
    for one in wanted:
        data = await files.read(account_id, one.sha256)
        if data is None:
            raise LookupError(one.name)
        media_type = _TYPES.guess_type(one.name)[0] or "application/octet-stream"
        found.append(Attachment(name=one.name, media_type=media_type, data=data))
    return tuple(found)
