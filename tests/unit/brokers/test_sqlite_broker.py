"""The broker in a folder: the contract, and what only this one can do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastrpc.brokers.base import BrokerBackend
from fastrpc.brokers.embedded import EmbeddedBroker
from fastrpc.brokers.sqlite import sqlite_broker
from fastrpc.testing import FakeClock
from fastrpc.testing.broker_contract import BrokerContract


def stopped(folder: Path, clock: FakeClock) -> EmbeddedBroker:
    """Return a broker whose time moves only by the clock."""
    begin = clock()
    day = datetime(2026, 1, 1, tzinfo=UTC)
    return sqlite_broker(folder, sync="normal", clock=clock, wall=lambda: day + timedelta(seconds=clock() - begin))


class TestContract(BrokerContract):
    """It keeps the contract."""

    @pytest.fixture
    async def broker(self, tmp_path: Path) -> AsyncIterator[BrokerBackend]:
        self.clock = FakeClock()
        async with stopped(tmp_path / "broker", self.clock) as broker:
            yield broker

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        assert isinstance(broker, EmbeddedBroker)
        self.clock.advance(seconds)
        broker.catch_up()
