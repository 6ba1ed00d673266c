"""The hooks of folders with tests marked `virtual_time`, which run in a loop whose timers pass at once."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.virtual_time import VirtualTimeLoop

__all__ = ["pytest_asyncio_loop_factories", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: the clock of the loop jumps to the next timer")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    is_virtual = item.get_closest_marker("virtual_time") is not None
    return {"virtual": VirtualTimeLoop} if is_virtual else {"asyncio": asyncio.new_event_loop}
