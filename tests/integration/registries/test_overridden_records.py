"""A server is taken out and put back in under load: no call fails, and calls go where the records say."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import Client, Server
from fastrpc.coordination import RegistryServer
from fastrpc.server.override import CONFIGURED, Override
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


class Load:
    """Calls that go on all the time; a failed one fails the test."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.answers: Counter[str] = Counter()
        self.is_over = False

    async def run(self) -> None:
        while not self.is_over:
            self.answers[await self._client.call(Who.name_of)] += 1

    async def goes_to(self, *names: str) -> None:
        """Wait until the last 200 calls were answered by exactly these servers."""
        async with asyncio.timeout(30):
            while True:
                self.answers.clear()
                while self.answers.total() < 200:
                    await asyncio.sleep(0)
                if self.answers.keys() == set(names):
                    return


@asynccontextmanager
async def loaded(client: Client) -> AsyncIterator[Load]:
    load = Load(client)
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(load.run())
        try:
            yield load
        finally:
            load.is_over = True


@asynccontextmanager
async def listening(name: str, registry: str) -> AsyncIterator[Any]:
    """Serve a name at two addresses, and yield what keeps the records of the server."""
    async with Server(Who(name), registry=registry) as server:
        for _ in range(2):
            await server.listen("tcp://127.0.0.1:0")
        yield server._offer.advertising


async def test_a_server_is_taken_out_and_in_without_a_failed_call() -> None:
    async with (
        RegistryServer("tcp://127.0.0.1:0") as registry,
        listening("a", registry.url) as a,
        listening("b", registry.url) as b,
        Client("who", registry=registry.url) as client,
        loaded(client) as load,
    ):
        await load.goes_to("a", "b")
        for _ in range(3):
            assert await a.set_override(Override(True))
            await load.goes_to("b")
            assert await a.set_override(CONFIGURED)
            await load.goes_to("a", "b")
        # The last server that is in gets all calls, and with all of them out each gets some.
        assert await b.set_override(Override(weight=0))
        await load.goes_to("a")
        assert await a.set_override(Override(True))
        await load.goes_to("a", "b")
