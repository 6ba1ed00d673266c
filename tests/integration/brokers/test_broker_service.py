"""A broker that many processes use: the contract over the network."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fastrpc.brokers.base import BrokerBackend
from fastrpc.testing.broker_contract import BrokerContract
from tests.support.messages.stopped import Times, served

pytestmark = pytest.mark.one_loop


class TestContract(BrokerContract):
    """A broker on another machine keeps the contract."""

    # The server knows its callers by their identities, and here callers have no identity.
    kept_publisher = None

    @pytest.fixture(params=["memory", "sqlite"])
    async def broker(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerBackend]:
        self.times = Times()
        folder = tmp_path / "broker" if request.param == "sqlite" else None
        async with served(folder, self.times) as (broker, self.service):
            yield broker

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        self.times.advance(seconds, self.service.backend)
