"""How much of the loop's time does admin work take? A coroutine, driven with a clock beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def charged(
    work: Coroutine[Any, Any, T], charge: Callable[[float], None]
) -> Generator[Any, Any, T]:
    """`await work`, and *charge* the processor time of each of its stretches, in seconds.

    A stretch is what runs between two waits; what other tasks do meanwhile is theirs. Tasks
    that *work* starts are not counted: charge them where they are started.
    """
    step: Callable[[], Any] = lambda: work.send(None)  # noqa: E731 - the next stretch, as a value
    while True:
        began = time.thread_time()
        try:
            wanted = step()
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            charge(time.thread_time() - began)
        try:
            given = yield wanted
        except BaseException as error:
            step = _thrower(work, error)
        else:
            step = _sender(work, given)


def _sender(work: Coroutine[Any, Any, Any], value: object) -> Callable[[], Any]:
    return lambda: work.send(value)


def _thrower(work: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: work.throw(error)
