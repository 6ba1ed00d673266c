"""Work spread over forked processes, as many at a time as there are cores."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from typing import TypeVar

__all__ = ["WorkFailedError", "core_count", "forked"]

Item = TypeVar("Item")


class WorkFailedError(Exception):
    """A process ended without having done its work; carries the item."""


def core_count() -> int:
    """Return how many processes run at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def forked(items: list[Item], work: Callable[[Item], object]) -> Iterator[Item]:
    """Call `work` with each item in a process of its own, in order, and yield each that is done.

    Raises:
        WorkFailedError: a process failed; the other processes are ended.
    """
    forking = multiprocessing.get_context("fork")
    waiting = list(reversed(items))
    running: dict[int, tuple[ForkProcess, Item]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < core_count():
                item = waiting.pop()
                process = forking.Process(target=work, args=(item,), daemon=True)
                process.start()
                running[process.sentinel] = process, item
            ended = wait(list(running))
            for sentinel in [each for each in running if each in ended]:
                process, item = running.pop(sentinel)
                process.join()
                if process.exitcode:
                    raise WorkFailedError(item)
                yield item
    finally:
        for process, _ in running.values():
            process.terminate()
            process.join()
