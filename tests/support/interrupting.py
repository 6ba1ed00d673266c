"""Interrupts of threads that wait for the result of a future."""

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["interrupt_waits"]


def interrupt_waits(
    monkeypatch: pytest.MonkeyPatch,
    *,
    after_result: bool = False,
    until: Callable[[], object] = lambda: True,
) -> None:
    """Have each wait for a future end with KeyboardInterrupt: after its result came, or once `until` holds."""
    wait = concurrent.futures.Future.result

    def result(self: Any, timeout: float | None = None) -> Any:
        if after_result:
            wait(self, 20)
        while not until():
            time.sleep(0)
        raise KeyboardInterrupt

    monkeypatch.setattr(concurrent.futures.Future, "result", result)
