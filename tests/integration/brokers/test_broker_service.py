"""A broker that many processes use: the contract over the network, drains, restarts, rights."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastrpc import Server
from fastrpc.brokers.base import BrokerBackend
from fastrpc.brokers.remote.client import open_remote
from fastrpc.brokers.remote.service import BrokerService, broker_config
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.testing import FakeClock
from fastrpc.testing.broker_contract import BrokerContract

pytestmark = pytest.mark.one_loop


class TestContract(BrokerContract):
    """A broker on another machine keeps the contract."""

    # The server knows its callers by their identities, and here they have none.
    kept_publisher = None

    @pytest.fixture(params=["memory", "sqlite"])
    async def broker(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerBackend]:
        clock = FakeClock()
        begin = clock()
        day = datetime(2026, 1, 1, tzinfo=UTC)
        self.clock = clock
        folder = tmp_path / "broker" if request.param == "sqlite" else None
        wall = lambda: day + timedelta(seconds=clock() - begin)  # noqa: E731
        self.service = BrokerService(folder, sync="normal", clock=clock, wall=wall)
        async with Server(self.service, config=broker_config(None)) as server:
            address = await server.listen("tcp://127.0.0.1:0")
            async with open_remote(RegistryURL(f"broker://{address.host}:{address.port}")) as broker:
                yield broker

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        self.clock.advance(seconds)
        self.service.backend.catch_up()
