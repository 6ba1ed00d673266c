"""The current stacks of all threads and tasks of this process."""

import asyncio
import sys
import threading
import traceback
from types import FrameType
from typing import Any

__all__ = ["stacks"]

#: MOST_TASKS: the most tasks that are shown. MOST_FRAMES: the most frames of each stack: the innermost frames of a
#: thread, the outermost frames of a task.
MOST_TASKS = 1_000
MOST_FRAMES = 64


def stacks(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Return the threads of this process and the tasks of a loop with their frames, innermost last.

    Call this on the loop. A frame is a name and a place, so the page shows no values of the program.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    threads = [
        {"name": names.get(number, "?"), "thread_id": number, "frames": _frames_of(frame)}
        for number, frame in sorted(frames.items())
    ]
    tasks = asyncio.all_tasks(loop)
    shown = sorted(tasks, key=lambda task: task.get_name())[:MOST_TASKS]
    rows = [{"name": task.get_name(), "frames": _frames_of_task(task)} for task in shown]
    return {"total": len(tasks), "threads": threads, "tasks": rows}


def _frames_of(frame: FrameType) -> list[str]:
    summary = traceback.StackSummary.extract(
        traceback.walk_stack(frame), limit=MOST_FRAMES, lookup_lines=False, capture_locals=False
    )
    return [_place(one) for one in reversed(summary)]


def _frames_of_task(task: "asyncio.Task[Any]") -> list[str]:
    waiting: Any = task.get_coro()
    found: list[str] = []
    # `get_stack` returns only the outermost frame of a waiting task.
    while waiting is not None and len(found) < MOST_FRAMES:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(waiting, f"{kind}_frame", None)
            if frame is not None:
                found.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}")
                break
        else:
            break
        waiting = getattr(waiting, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
    return found


def _place(one: traceback.FrameSummary) -> str:
    return f"{one.filename}:{one.lineno} {one.name}"
