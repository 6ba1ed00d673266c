"""Code that tasks and threads of fastrpc run without a call: schedules, batches, settings, registries, files."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import fastrpc
from fastrpc import Batcher, Endpoint, FastRPCError
from fastrpc.coordination import Lock, open_store
from fastrpc.coordination.schedules import Schedules
from fastrpc.files import FileService, download, upload
from fastrpc.registries.base.snapshot import Snapshot
from fastrpc.testing import connected
from tests.support.failing.scenes import Fail, caught, check_serves, scene
from tests.support.failing.servers import Good
from tests.support.waiting import eventually


@scene
async def functions_of_a_batcher(fail: Fail) -> None:
    is_bad = True

    async def at_once(items: list[int]) -> list[int]:
        if is_bad:
            fail()
        return items

    async def later(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return await at_once(items)

    def threaded(items: list[int]) -> list[int]:
        if is_bad:
            fail()
        return items

    for run in (at_once, later, threaded):
        batcher, is_bad = Batcher(run, wait=0.001), True
        found = await asyncio.gather(batcher(1), batcher(2), return_exceptions=True)
        assert all(isinstance(one, Exception) for one in found), found
        is_bad = False
        assert await batcher(3) == 3


@scene
async def scheduled_methods(fail: Fail) -> None:
    runs: dict[str, int] = {"loop": 0, "later": 0, "thread": 0, "leader": 0}

    class Jobs:
        @fastrpc.scheduled(every=0.1, on="each")
        async def at_once(self) -> None:
            runs["loop"] += 1
            fail()

        @fastrpc.scheduled(every=0.1, on="each")
        async def later(self) -> None:
            await asyncio.sleep(0)
            runs["later"] += 1
            fail()

        @fastrpc.scheduled(every=0.1, on="each")
        def threaded(self) -> None:
            runs["thread"] += 1
            fail()

        @fastrpc.scheduled(every=0.1)
        async def led(self) -> None:
            runs["leader"] += 1
            fail()

    async with open_store("memory://scheduled") as store:
        schedules = Schedules(store)
        schedules.add("jobs", Jobs())
        await eventually(lambda: min(runs.values()) >= 2)
        assert await schedules.stop(seconds=5)


@scene
async def check_of_a_setting(fail: Fail) -> None:
    judged: list[int] = []

    def check(value: int) -> None:
        judged.append(value)
        if value == 2:
            fail()

    async with open_store("memory://settings") as store:
        await store.put("limit", 1)
        following = await store.follow("limit", int, check=check)
        await store.put("limit", 2)
        await eventually(lambda: 2 in judged)
        await store.put("limit", 3)
        await eventually(lambda: following.value == 3)


@scene
async def check_of_the_first_value_of_a_setting(fail: Fail) -> None:
    def check(value: int) -> None:
        if value == 1:
            fail()

    async with open_store("memory://settings") as store:
        await store.put("limit", 1)
        following = await store.follow("limit", int, check=check, default=7)
        assert following.value == 7
        await store.put("limit", 3)
        await eventually(lambda: following.value == 3)


@scene
async def function_of_a_leader(fail: Fail) -> None:
    async def lead(lock: Lock) -> None:
        await asyncio.sleep(0)
        fail()

    async with open_store("memory://led") as store:
        # It runs in the task of its caller, who gets its exception.
        await caught(store.run_while_leading("shop", lead))
        assert await store.leader("shop") is None
        await store.put("limit", 1)


class OwnRegistry:
    """A registry class of a program, which fails on demand."""

    def __init__(self, fail: Fail, where: str, address: str = "tcp://127.0.0.1:9") -> None:
        self.fail, self.where, self.address = fail, where, address
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.where:
            self.fail()

    @asynccontextmanager
    async def _registered(self) -> AsyncIterator[Any]:
        self.step("enter")
        yield self
        self.step("leave")

    def register(self, service: str, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        self.step("register")
        return self._registered()

    async def retire(self) -> bool:
        self.step("retire")
        return False

    async def watch(self, service: str) -> AsyncIterator[Snapshot]:
        self.step("watch")
        yield Snapshot(1, (Endpoint(self.address),))
        await asyncio.sleep(0)
        self.step("next")
        await asyncio.sleep(60)

    def close(self) -> None:
        self.step("close")

    async def aclose(self) -> None:
        self.step("close")


@scene
async def registries_of_a_server(fail: Fail) -> None:
    for where in ("register", "enter", "leave", "retire"):
        registry = OwnRegistry(fail, where)
        server = fastrpc.Server(Good, registry=registry)
        try:
            async with server:
                address = await server.listen("tcp://127.0.0.1:0")
                async with fastrpc.Client(str(address)) as client:
                    await check_serves(client)
        except Exception:
            assert where in ("register", "enter")
        assert where in registry.steps


@scene
async def registries_among_others_of_a_server(fail: Fail) -> None:
    for where in ("register", "enter", "leave", "retire"):
        registry = OwnRegistry(fail, where)
        server = fastrpc.Server(Good, registry=[registry, OwnRegistry(fail, "")])
        try:
            async with server:
                address = await server.listen("tcp://127.0.0.1:0")
                async with fastrpc.Client(str(address)) as client:
                    await check_serves(client)
        except Exception:
            assert where in ("register", "enter")
        assert where in registry.steps


@scene
async def registries_of_a_client(fail: Fail) -> None:
    async with fastrpc.Server(Good) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        registry = OwnRegistry(fail, "next", address)
        async with fastrpc.Client("good", registry=registry) as client:
            await check_serves(client)
            await eventually(lambda: "next" in registry.steps)
            await check_serves(client)
        registry = OwnRegistry(fail, "watch", address)
        async with fastrpc.Client("good", registry=registry) as client:
            assert isinstance(
                await caught(client.with_options(timeout=0.5).call("good.double", 2)), FastRPCError
            )


@scene
async def progress_of_files(fail: Fail) -> None:
    is_bad = True

    def progress(done: int, size: int) -> None:
        if is_bad:
            fail()

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "there").mkdir()
        (Path(folder) / "one").write_bytes(b"x" * 300_000)
        service = FileService(Path(folder) / "there", writable=True)
        async with connected(service, Good()) as client:
            for is_bad in (True, False):
                error = await caught(upload(client, Path(folder) / "one", "one", progress=progress))
                assert (error is not None) is is_bad
            for is_bad in (True, False):
                error = await caught(download(client, "one", Path(folder) / "two", progress=progress))
                assert (error is not None) is is_bad
            await check_serves(client)
