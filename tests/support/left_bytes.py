"""Fails a file of tests that leaves bytes held for good by servers of its process.

Tests of memory wait until no bytes are held: without this they would fail in its place, each after its time.
"""

import gc
import sys
import time
from collections.abc import Generator

import pytest

__all__ = ["LeftBytes"]

#: Within this time threads and loops that a file leaves may free the bytes of their calls.
PAUSE_SECONDS = 5.0


class LeftBytes:
    """Looks after each test, and judges at the end of a file: some tests share their servers in it."""

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._since: list[str] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
        """Note the tests after which bytes are held, since the last one that left none."""
        yield
        # Not imported unless a test did so: the program of a test without the libraries that sanitizers need could not.
        budget = sys.modules.get("fastrpc._core.server.memory_budget")
        if budget is None or not budget.bytes_held():
            self._since.clear()
            return
        self._since.append(f"{item.nodeid}: {budget.bytes_held()} bytes")
        if nextitem is not None and nextitem.path == item.path:
            return
        until = time.monotonic() + self._pause_seconds
        # Objects that are not collected before the next file begins are never collected: the collector leaves out all
        # that live then.
        while gc.collect() >= 0 and budget.bytes_held() and time.monotonic() < until:
            time.sleep(0.01)
        since, self._since = self._since, []
        if budget.bytes_held():
            pytest.fail("servers of this process hold bytes for good, since:\n" + "\n".join(since[:20]))
