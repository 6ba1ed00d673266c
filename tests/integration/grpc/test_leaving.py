"""Servers that leave while grpcio calls them: workers are rolled, a program takes over, connections age."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest

import fastrpc
from fastrpc import Address, Keepalive, Server, ServerConfig, current_call
from tests.support.running_workers import running
from tests.support.successors import Successors, started
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

CHANNELS = 16
GRPC = {"FASTRPC_PROTOCOLS": "native,grpc"}


class Callers:
    """Unary calls of grpcio, over as many channels, each with a separate connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.answers: Counter[bytes] = Counter()
        self.failures: list[str] = []
        self._is_over = False

    @contextlib.asynccontextmanager
    async def running(self, target: str) -> AsyncIterator[None]:
        """Keep calls going inside the block."""
        address = Address.parse(target)
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with contextlib.AsyncExitStack() as stack:
            where = f"{address.host}:{address.port}"
            channels = [
                await stack.enter_async_context(grpc.aio.insecure_channel(where, options=own))
                for _ in range(CHANNELS)
            ]
            async with asyncio.TaskGroup() as group:
                for channel in channels:
                    group.create_task(self._call(channel.unary_unary(self._path)))
                try:
                    yield
                finally:
                    self._is_over = True

    async def _call(self, call: Any) -> None:
        while not self._is_over:
            try:
                self.answers[await call(b"", timeout=20)] += 1
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code()}: {error.details()}")
            await asyncio.sleep(0.005)

    async def more(self, calls: int) -> set[bytes]:
        """Wait until so many more were answered; return who answered them."""
        self.answers.clear()
        await eventually(lambda: self.answers.total() >= calls)
        return set(self.answers)

    async def leave(self, before: set[bytes]) -> None:
        """Wait until only the other servers answer: the last answers of a program may be read after its end."""
        async with asyncio.timeout(20):
            while before & await self.more(300):
                pass


@fastrpc.service("aged")
class Aged:
    peers: ClassVar[set[Any]] = set()

    @fastrpc.method(codec="raw")
    async def call(self, data: bytes) -> bytes:
        self.peers.add(current_call().peer.address)
        return data


async def test_rolls_of_workers_fail_no_call(tmp_path: Path) -> None:
    callers = Callers("/work/where")
    with running(tmp_path, environment=GRPC) as serving:
        async with callers.running(serving.address):
            before = await callers.more(300)
            for _ in range(2):
                serving.roll()
                await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
                await callers.more(300)
            await callers.leave(before)
    assert callers.failures == []


async def test_a_new_program_takes_over_and_no_call_fails(tmp_path: Path) -> None:
    callers = Callers("/work/where")
    programs = Successors(tmp_path, ["-a", "tcp://127.0.0.1:0"])
    # The new program outlives the callers.
    with contextlib.ExitStack() as successor, programs.program(environment=GRPC) as old:
        first = await asyncio.to_thread(started, old)
        async with callers.running(first["addresses"][0]):
            before = await callers.more(200)
            new = successor.enter_context(programs.program("--takeover", environment=GRPC))
            await asyncio.to_thread(started, new)
            assert (await asyncio.to_thread(old.wait)).code == 0
            await callers.leave(before)
        assert callers.failures == []


async def test_connections_that_age_fail_no_call() -> None:
    callers = Callers("/aged/call")
    config = ServerConfig(protocols=("grpc",), keepalive=Keepalive(max_age=1.0))
    async with Server(Aged(), config=config) as server:
        async with callers.running(str(await server.listen("tcp://127.0.0.1:0"))):
            await eventually(lambda: len(Aged.peers) > 3 * CHANNELS)
    assert callers.failures == []
