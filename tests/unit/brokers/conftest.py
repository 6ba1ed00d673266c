"""Tests marked `virtual_time` run in a loop whose timers pass at once; `broker` is one over a small backend."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fastrpc.brokers import Broker
from tests.support.broker_folder import Times
from tests.support.small_broker import SmallBroker
from tests.support.virtual_loops import pytest_asyncio_loop_factories, pytest_configure

__all__ = ["pytest_asyncio_loop_factories", "pytest_configure"]


@pytest.fixture
def backend() -> SmallBroker:
    return SmallBroker()


@pytest.fixture
async def broker(backend: SmallBroker) -> AsyncIterator[Broker]:
    async with Broker(backend) as broker:
        yield broker


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"
