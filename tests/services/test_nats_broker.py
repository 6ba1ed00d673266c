"""The broker over NATS: the contract, each cell of its column, and each refusal."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fastrpc.brokers.base import BrokerBackend
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.testing.broker_contract import BrokerContract
from tests.support.registry_servers import NatsServer

pytestmark = pytest.mark.one_loop


class TestContract(BrokerContract):
    """It keeps the contract."""

    @pytest.fixture
    async def broker(self, own_nats: NatsServer) -> AsyncIterator[BrokerBackend]:
        async with open_backend(own_nats.url) as broker:
            yield broker

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        # The server looks for what is old once a second.
        await asyncio.sleep(seconds if seconds <= 1 else seconds + 1)
