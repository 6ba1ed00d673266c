"""Every asynchronous test of these folders runs under each event loop, those marked `one_loop` only at larger scales."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from tests.conftest import SCALE


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if SCALE <= 1 and item.get_closest_marker("one_loop") is not None:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
