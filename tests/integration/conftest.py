"""Asynchronous tests here run under each event loop; at scale 1, some under uvloop alone.

These are the tests marked `one_loop`, and those of Unix sockets and of memory where a test has several transports:
asyncio then has its turn with TCP.
"""

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SCALE > 1:
        return
    with_tcp = {_function(item) for item in items if _parameters(item).get("scheme") == "tcp"}
    chosen: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        is_left_out = _is_asyncio_without_tcp(item) and _function(item) in with_tcp
        (left_out if is_left_out else chosen).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = chosen


def _is_asyncio_without_tcp(item: pytest.Item) -> bool:
    parameters = _parameters(item)
    return parameters.get("_asyncio_loop_factory") is asyncio.new_event_loop and parameters.get("scheme") in {
        "unix",
        "memory",
    }


def _parameters(item: pytest.Item) -> dict[str, object]:
    """Return the parameters of a test by their names."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return {}
    parameters: dict[str, object] = item.callspec.params
    return parameters


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]
