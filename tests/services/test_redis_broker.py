"""The broker in Redis: the contract, each cell of the table of backends, and what only this one does."""

from collections.abc import AsyncIterator, Iterator

import pytest

from fastrpc.brokers.base import BrokerBackend
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.testing.broker_contract import BrokerContract
from tests.support.registry_servers import RedisServer

pytestmark = pytest.mark.one_loop


@pytest.fixture(scope="module")
def kept_redis(redis_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that keeps its data, for all tests."""
    folder = tmp_path_factory.mktemp("kept_redis")
    with RedisServer(redis_path, folder, options=["--appendonly", "yes"]).running() as server:
        yield server


@pytest.fixture
def server(kept_redis: RedisServer) -> RedisServer:
    kept_redis.ask("FLUSHALL")
    return kept_redis


class TestContract(BrokerContract):
    """It keeps the contract."""

    @pytest.fixture
    async def broker(self, server: RedisServer) -> AsyncIterator[BrokerBackend]:
        async with open_backend(server.url) as broker:
            yield broker
