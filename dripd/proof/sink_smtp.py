"""The test provider over SMTP: one dialogue, and where it breaks off."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import trio

from dripd.proof.faults import SMTP, Faults
from dripd.proof.link import Link
from dripd.proof.sink_http import BODY_MOST, HEAD_MOST, SLOW_S, Add

BANNER_S: Final = 2.0

RCPT: Final = {
    "refuse_rcpt": "450 4.2.1 later",
    "refuse_rcpt_550": "550 5.1.1 nobody",
    "refuse_greylist": "451 4.7.1 greylisted",
}

DOT: Final = {
    "accept_451": "451 4.3.0 later",
    "refuse_dot": "451 4.3.0 later",
    "refuse_dot_554": "554 5.6.0 unfit",
}


class SmtpSink:
    """Takes letters. `add` writes to the log; greylisted recipients are remembered."""

    def __init__(self, add: Add, faults: Faults) -> None:
        self.add = add
        self.faults = faults
        self.greylisted: set[bytes] = set()

    async def serve(self, link: Link) -> None:
        if "slow_banner" in self.faults.session:
            await trio.sleep(BANNER_S)  # noqa: TID251 - the fault itself
        await link.say("220 sink\r\n")
        await Dialogue(self, link).run()


class Dialogue:
    """One session: the letter under way, and the fault that befalls it."""

    def __init__(self, sink: SmtpSink, link: Link) -> None:
        self._sink = sink
        self._link = link
        self._fault = ""
        self._n_rcpt = 0
        self._is_over = False

    async def run(self) -> None:
        while (line := await self._link.until(b"\r\n", HEAD_MOST)) is not None:
            verb = line[:4].upper()
            if verb == b"QUIT":
                await self._link.say("221 bye\r\n")
                return
            if verb == b"DATA":
                if not await self._data():
                    return
            elif not await self._say(verb, line):
                return

    async def _say(self, verb: bytes, line: bytes) -> bool:
        answer = "250 ok"
        if verb == b"EHLO":
            answer = self._offers()
        elif verb == b"STAR":
            answer = "454 4.7.0 not now"
        elif verb == b"MAIL":
            self._fault, self._n_rcpt = self._sink.faults.draw(SMTP, line), 0
            if self._is_over or self._fault == "refuse_421":
                await self._link.say("421 4.7.0 enough for now\r\n")
                return False
        elif verb == b"RCPT":
            answer = self._recipient(line)
            self._n_rcpt += answer.startswith("250")
        await self._link.say(f"{answer}\r\n")
        return True

    def _offers(self) -> str:
        words = {"no_pipelining": "PIPELINING", "no_8bitmime": "8BITMIME"}
        offered = [
            word for fault, word in words.items() if fault not in self._sink.faults.session
        ]
        if "starttls_454" in self._sink.faults.session:
            offered.append("STARTTLS")
        return "\r\n".join([*(f"250-{word}" for word in ["sink", *offered]), "250 HELP"])

    def _recipient(self, line: bytes) -> str:
        if self._fault not in RCPT:
            return "250 ok"
        if self._fault == "refuse_greylist":
            if line in self._sink.greylisted:
                self._fault = ""
                return "250 ok"
            self._sink.greylisted.add(line)
        return RCPT[self._fault]

    async def _data(self) -> bool:
        """DATA to the final dot and its answer; False where the connection ends."""
        fault, link = self._fault, self._link
        if fault == "refuse_data_drop":
            return False
        if not self._n_rcpt or fault == "refuse_data":
            await link.say("554 5.5.1 no\r\n")
            return True
        await link.say("354 go on\r\n")
        if fault == "refuse_body_drop":
            await link.exactly(1)
            return False
        text = await link.until(b"\r\n.\r\n", BODY_MOST)
        if text is None:
            return False
        accepted = not fault.startswith("refuse")
        await self._sink.add(
            key=message_id(text),
            path="smtp",
            accepted=accepted,
            repeat=False,
            fault=fault,
            sha=sha256(text).hexdigest()[:16],
        )
        return await self._after_dot(fault)

    async def _after_dot(self, fault: str) -> bool:
        if fault == "accept_drop":
            return False
        if fault == "accept_slow":
            await trio.sleep(SLOW_S)  # noqa: TID251 - the fault itself
        self._is_over = fault == "accept_421"
        await self._link.say(f"{DOT.get(fault, '250 2.0.0 taken')}\r\n")
        return True


def message_id(text: bytes) -> str:
    """The Message-ID of a letter, "" if it has none."""
    for line in text.split(b"\r\n\r\n", 1)[0].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"message-id":
            return value.strip().decode("latin-1")
    return ""
