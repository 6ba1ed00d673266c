"""Asynchronous tests here run under each event loop; at scale 1, those marked `one_loop` under uvloop alone."""

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
