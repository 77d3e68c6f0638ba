"""How is something changed from the console? In three tiers, each call once, all undoable told.

Tier 1 acts at once and can be undone, unless somebody has changed it since. Tier 2 asks, with
the focus on Cancel. Tier 3 makes a plan in the daemon: how many, five of them, and the action
goes through only for exactly these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dripd.errors import DripdError
from dripd.tui.dialog import Blank, Confirm, Reading
from dripd.tui.draw import Line
from dripd.tui.page import Inverse, Inverter, Params, Port, Told
from dripd.tui.words import count, text

UNDO_S: Final = 600
WIDE: Final = 50
"""More things than this make an action wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The inverse of what was done, and what must still stand."""

    said: str
    method: str
    params: Params
    until: float


class Deeds:
    """Changes through a port; `monotonic` is the time of dialogs and undo."""

    def __init__(self, port: Port, monotonic: Callable[[], float]) -> None:
        self._port = port
        self._monotonic = monotonic
        self._undo: Undo | None = None

    def act(
        self,
        method: str,
        params: Params,
        said: str,
        *,
        undo: Inverse | Inverter | None = None,
    ) -> None:
        """Tier 1: at once. *undo*: the inverse's method and params, and what it must find."""

        async def run() -> None:
            answer = await self._call(method, params)
            if answer is None:
                return
            hint = ""
            if undo is not None and answer.get("changed", True):
                inverse, given, expect = undo(answer) if callable(undo) else undo
                self._undo = Undo(
                    said=said,
                    method=inverse,
                    params={**given, "expect": dict(expect)},
                    until=self._monotonic() + UNDO_S,
                )
                hint = " - z undoes it (10 min)"
            self._port.tell(said + hint, "ok")

        self._port.spawn(run())

    def undo(self) -> None:
        """The last tier 1 action back; refused if somebody has changed it since."""
        last, self._undo = self._undo, None
        if last is None or self._monotonic() > last.until:
            self._port.tell("nothing to undo: only the last reversible action, for 10 minutes")
            return
        self.act(last.method, last.params, f"undone: {last.said}")

    def confirm(
        self,
        title: str,
        body: Sequence[str],
        method: str,
        params: Params,
        said: str,
        *,
        verb: str,
        blanks: Sequence[Blank] = (),
        pieces: Sequence[Params] = ({},),
    ) -> None:
        """Tier 2: after a yes. What is typed goes along as parameters.

        *pieces*: what is too much for one call is made in several, each with its own part.
        """
        numbers = [blank.name for blank in blanks if blank.number]

        def done(typed: dict[str, str]) -> None:
            filled: dict[str, object] = {k: v for k, v in typed.items() if v}
            filled |= {k: int(typed[k]) for k in numbers if typed[k]}
            given = {**params, **filled, "yes": True}
            self._port.spawn(self._done(method, [{**given, **one} for one in pieces], said))

        self._port.ask(
            Confirm(title, body, done, verb=verb, opened_at=self._monotonic(), blanks=blanks)
        )

    def reveal(
        self,
        title: str,
        body: Sequence[str],
        method: str,
        params: Params,
        lines: Callable[[Mapping[str, Any]], Sequence[Line]],
        *,
        verb: str,
    ) -> None:
        """Show what *method* answers, after a reason was given for looking."""

        def done(typed: dict[str, str]) -> None:
            async def run() -> None:
                answer = await self._call(method, {**params, **typed})
                if answer is not None:
                    self._port.ask(Reading(title, lines(answer)))

            self._port.spawn(run())

        why = Blank(name="reason", label="Reason (kept in the audit):", required=True)
        opened = self._monotonic()
        self._port.ask(Confirm(title, body, done, verb=verb, opened_at=opened, blanks=[why]))

    def planned(
        self,
        title: str,
        method: str,
        params: Params,
        body: Callable[[int], Sequence[str]],
        *,
        verb: str,
        word: Callable[[int], str] = str,
        even_none: bool = False,
        told: Told | None = None,
    ) -> None:
        """Tier 3: the daemon says what would be touched, the operator types *word* and why.

        What touches at most `WIDE` things and has no word of its own is tier 2. *even_none*:
        there is something to do although nothing is touched by it. *told* says more of what the
        plan found, and which word that takes.
        """

        async def run() -> None:
            plan = await self._call(
                "plan.make", {"method": method, "params": dict(params)}, once=False
            )
            if plan is None:
                return
            touched = int(plan.get("n", 0))
            if touched == 0 and not even_none:
                self._port.tell("nothing would be changed")
                return
            more, typed = told(plan) if told else ((), word(touched))
            self._ask_for_plan(
                title, plan, method, params, [*body(touched), *more], verb, typed
            )

        self._port.spawn(run())

    def _ask_for_plan(
        self,
        title: str,
        plan: Mapping[str, Any],
        method: str,
        params: Params,
        body: list[str],
        verb: str,
        word: str,
    ) -> None:
        n = int(plan["n"])
        some = [{k: v for k, v in one.items() if k != "ok"} for one in plan.get("sample", [])]
        sample = [f"  {text(one)}" for one in some[:3]]
        body += [f"{count(n)} would be touched; such as:", *sample] if sample else []
        body += [f"The plan holds for {plan.get('expires_in_s', 120)} s and for exactly these."]
        blanks = [Blank(name="reason", label="Reason (kept in the audit):", required=True)]
        if n > WIDE or not word.isdigit():
            blanks.append(Blank(name="word", label=f"Type {word} to confirm:", must_be=word))

        def done(typed: dict[str, str]) -> None:
            given = {**params, "plan_id": plan["plan_id"], "reason": typed["reason"]}
            self._port.spawn(self._done(method, [given], f"{verb}: done"))

        opened = self._monotonic()
        self._port.ask(Confirm(title, body, done, verb=verb, opened_at=opened, blanks=blanks))

    async def _done(self, method: str, calls: Sequence[Params], said: str) -> None:
        """Make one call after the other, and say what came of them; the first that fails is the
        last."""
        answers: list[dict[str, Any]] = []
        for n, params in enumerate(calls):
            answer = await self._call(
                method, params, done=f"{n} of {len(calls)} parts done; " if n else ""
            )
            if answer is None:
                return
            answers.append(answer)
        self._port.tell(f"{said}{outcome(added(answers))}", "ok")

    async def _call(
        self, method: str, params: Params, *, once: bool = True, done: str = ""
    ) -> dict[str, Any] | None:
        """The answer; None after telling what went wrong, and what was *done* before."""
        try:
            answer = await self._port.call(method, params, once=once)
        except DripdError as error:
            hint = f" - {error.hint}" if error.hint else ""
            self._port.tell(f"{done}[{error.code}] {error.message}{hint}", "bad")
            return None
        return answer if isinstance(answer, dict) else {"result": answer}


def added(answers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The answers of several calls as one."""
    if len(answers) == 1:
        return answers[0]
    return {
        "changed": sum(one.get("changed", 0) for one in answers),
        "items": [item for one in answers for item in one.get("items", [])],
    }


def outcome(answer: Mapping[str, Any]) -> str:
    """How many were changed, and the first that was not."""
    changed = answer.get("changed")
    said = f" ({count(changed)} changed)" if type(changed) is int else ""
    items = answer.get("items")
    failed = [one for one in items if one.get("ok") is False] if isinstance(items, list) else []
    if failed:
        why = (
            failed[0].get("message") or failed[0].get("reject_reason") or failed[0].get("code")
        )
        said += f"; {len(failed)} not: {text(why)}"
    return said
