"""What is the daemon doing at this moment? Its trio tasks as a tree, and how full its queues are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import trio
from trio.lowlevel import Task

from dripd.engine.pipeline import Pipeline


def trace(pipe: Pipeline, node: str) -> Mapping[str, object]:
    """The tasks, outermost first, each with the line where it waits; then the counts."""
    root = trio.lowlevel.current_root_task()
    tasks = [] if root is None else [shown(depth, task) for depth, task in walk(root, 0)]
    return {
        "node": node,
        "tasks": tasks,
        "wheel": len(pipe.wheel),
        "ready": len(pipe.ready),
        "unsent": pipe.unsent,
        "done": len(pipe.done),
        "claims": len(pipe.claims),
        "lanes": len(pipe.lanes),
        "parked": pipe.lanes.n_parked,
        "queues": {name: len(queue) for name, queue in pipe.leased.items()},
    }


def walk(task: Task, depth: int) -> Iterator[tuple[int, Task]]:
    yield depth, task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from walk(child, depth + 1)


def shown(depth: int, task: Task) -> Mapping[str, object]:
    return {"depth": depth, "name": task.name.rpartition("dripd.")[2], "at": place(task)}


def place(task: Task) -> str:
    """The innermost line of dripd's own in which *task* waits."""
    own = [
        (frame.f_code.co_qualname, line)
        for frame, line in task.iter_await_frames()
        if "dripd" in str(frame.f_globals.get("__name__"))
    ]
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""
