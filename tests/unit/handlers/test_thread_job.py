"""A job of the thread pool, asked to leave while its thread begins."""

from types import SimpleNamespace
from typing import Any

from fastrpc.handlers.thread_job import ThreadJob


class BeginningJob(ThreadJob):
    """The thread begins right after the first look at it."""

    __slots__ = ("looks",)

    @property
    def _has_begun(self) -> bool:  # type: ignore[override]
        self.looks += 1
        return self.looks > 1

    @_has_begun.setter
    def _has_begun(self, value: bool) -> None:
        self.looks = 0


def test_leaving_a_job_returns_the_flag_that_it_keeps_even_if_its_thread_begins_meanwhile() -> None:
    call: Any = SimpleNamespace(given=())
    job = BeginningJob(call, print, print)
    assert (job.leave(), job._is_left) == (False, False)
    assert (job.leave(), job._is_left) == (True, True)
