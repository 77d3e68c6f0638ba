"""Files that go with mails: kept up to a bound, and asked for only where they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
import trio
import trio.testing

from dripd.channels.base import Message, Settle
from dripd.engine.files import Files
from dripd.engine.tuning import Tuning
from dripd.store.memory import MemoryStore
from tests.engine.rig import HELLO, Rig, SlowSink, VirtualClock

MIB = 1 << 20


class Opener(SlowSink):
    """Notes what went with each message, and how many came in a call."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[list[tuple[str, str, int]]] = []
        self.calls: list[int] = []

    async def send(self, messages: Sequence[Message], settle: Settle) -> None:
        self.calls.append(len(messages))
        for message in messages:
            files = [(one.name, one.media_type, len(one.data)) for one in message.attachments]
            self.got.append(files)
        await super().send(messages, settle)


class Counting(MemoryStore):
    reads = 0

    async def read_attachment(self, account_id: int, sha256: str) -> bytes | None:
        self.reads += 1
        return await super().read_attachment(account_id, sha256)


def attached(name: str, data: bytes) -> dict[str, object]:
    return {"name": name, "sha256": sha256(data).hexdigest(), "size": len(data)}


@pytest.mark.trio
async def test_a_call_carries_files_up_to_a_weight(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), Opener())
    data = bytes(3 * MIB)
    step = {**HELLO, "attachments": [attached("a.pdf", data), attached("b.odd", b"b")]}
    account = rig.account("acme", step=step)
    for one in (data, b"b"):
        rig.store.attach(account, one)
    rig.enroll(account, 7)
    async with rig.running():
        await trio.sleep(2)

    sink = rig.sink
    assert isinstance(sink, Opener)
    files = [("a.pdf", "application/pdf", 3 * MIB), ("b.odd", "application/octet-stream", 1)]
    assert sink.got == [files] * 7
    assert max(sink.calls) == 3


@pytest.mark.trio
async def test_what_cannot_be_read_is_given_back_and_what_is_gone_is_held(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig(Tuning(), Opener())
    account = rig.account("acme", step={**HELLO, "attachments": [attached("a", b"a")]})
    gone = rig.account("gone", step={**HELLO, "attachments": [attached("a", b"a")]})
    rig.store.attach(account, b"a")
    rig.enroll(account, 1)
    rig.enroll(gone, 1)
    rig.store.fail_next("read_attachment", "before")
    async with rig.running():
        await trio.sleep(120)

    sink = rig.sink
    assert isinstance(sink, Opener)
    assert sink.got == [[("a", "application/octet-stream", 1)]]
    reasons = {row["account_id"]: row["hold_reason"] for row in rig.store.enrollments()}
    assert reasons == {account: None, gone: "quarantined"}


@pytest.mark.trio
async def test_what_was_used_last_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    store = Counting(VirtualClock())
    account = store.add_account("acme")
    names = [store.attach(account, bytes([n]) * 4) for n in range(3)]
    files = Files(store, most=8)

    async def read(*which: int) -> int:
        before = store.reads
        for n in which:
            assert await files.read(account, names[n]) == bytes([n]) * 4
        return store.reads - before

    assert await read(0, 1, 0, 1) == 2
    assert await read(2, 1, 2) == 1
    assert await read(0) == 1
    assert await files.read(account + 1, names[0]) is None
