"""Acts while clients call: a server is drained and its workers are replaced, and no call fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Server
from fastrpc.coordination.registry.service import RegistryService
from tests.support.admin_pages import act, operators_file, page
from tests.support.program import WAIT_SECONDS
from tests.support.worker_pages import WorkerPages, worker_pages

pytestmark = pytest.mark.one_loop

TASKS = 10

#: Calls after which every task has made several.
MANY = 200


class Load:
    """Idempotent calls of several tasks, and the processes or servers that answered them."""

    def __init__(self, client: Client, method: str) -> None:
        self._client = client.with_options(idempotent=True, timeout=WAIT_SECONDS)
        self._method = method
        self.answered: list[Any] = []
        self.failures: list[BaseException] = []

    async def call(self) -> None:
        while True:
            try:
                self.answered.append(await self._client.call(self._method))
            except fastrpc.FastRPCError as error:
                self.failures.append(error)
            # Some 500 calls a second.
            await asyncio.sleep(TASKS / 500)

    async def further(self) -> Counter[Any]:
        """Return who answered the next calls."""
        first = len(self.answered)
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.answered) < first + MANY and not self.failures:
                await asyncio.sleep(0.02)
        assert self.failures == []
        return Counter(self.answered[first:])

    async def until_both(self, first: set[Any], second: set[Any]) -> None:
        """Return once some of the first and some of the second have answered."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (first & set(self.answered) and second & set(self.answered)):
                await self.further()

    async def until_only(self, wanted: Callable[[Any], bool]) -> None:
        """Return once all of many calls in a row had such an answer."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not all(map(wanted, await self.further())):
                pass


@asynccontextmanager
async def load_on(url: str, method: str) -> AsyncIterator[Load]:
    service = method.partition(".")[0]
    async with Client(service, registry=url) as client:
        load = Load(client, method)
        tasks = [asyncio.ensure_future(load.call()) for _ in range(TASKS)]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert load.failures == []


@asynccontextmanager
async def registry_url() -> AsyncIterator[str]:
    async with Server(RegistryService()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        yield str(address).replace("tcp://", "registry://")


def named(name: str) -> Any:
    @fastrpc.service("named")
    class Named:
        @fastrpc.method(idempotent=True)
        async def name(self) -> str:
            return name

    return Named()


async def test_a_server_of_one_process_is_drained(tmp_path: Path) -> None:
    operators = operators_file(tmp_path)
    async with registry_url() as url:
        config = fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0", admin_operators=operators)
        async with (
            Server(named("a"), config=config, registry=url) as first,
            Server(named("b"), registry=url) as second,
        ):
            for server in (first, second):
                await server.listen("tcp://127.0.0.1:0")
            async with load_on(url, "named.name") as load:
                await load.until_both({"a"}, {"b"})
                identity = (await page(first, "/figures")).json["server"]
                assert (await act(first, "drain", was={"server": identity})).status == 200
                await load.until_only(lambda name: name == "b")


async def test_workers_are_replaced_and_a_server_with_workers_is_drained(tmp_path: Path) -> None:
    async with registry_url() as url:
        config = f'{{"registry": "{url}", "admin_operators": "operators.toml"}}'

        async def started(name: str) -> tuple[WorkerPages, Callable[[], Awaitable[Any]]]:
            folder = tmp_path / name
            folder.mkdir()
            program = worker_pages(folder, 2, config)
            # In a thread: its registry is on this loop.
            serving = await asyncio.to_thread(program.__enter__)
            return serving, lambda: asyncio.to_thread(program.__exit__, None, None, None)

        first, end_first = await started("first")
        second, end_second = await started("second")
        try:
            async with load_on(url, "work.where") as load:
                old, others = set(first.workers()), set(second.workers())
                # Each connection belongs to one worker.
                await load.until_both(old, others)
                server = (await asyncio.to_thread(first.page, "/figures"))["server"]
                await asyncio.to_thread(lambda: first.act("roll", was={"server": server}))
                await asyncio.to_thread(first.program.wait_errors, "new workers serve, the old ones drain")
                await load.until_only(lambda process: process not in old)
                await asyncio.to_thread(lambda: first.act("drain", was={"server": server}))
                await load.until_only(lambda process: process in others)
                assert (await asyncio.to_thread(first.program.wait)).code == 0
        finally:
            await end_second()
            await end_first()
