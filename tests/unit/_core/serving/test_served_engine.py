"""The server's side of a protocol in Python: what is not the protocol comes with its base class."""

import asyncio
import gc
from typing import Any

import pytest

from fastrpc import Client, ServerConfig, current_call
from fastrpc._core.serving.exchange import Failure
from fastrpc._core.serving.served_call import ServerCall
from fastrpc._core.serving.served_engine import ServedEngine
from fastrpc.protocols.base import Verdict, register
from tests.support.blocking import keep_the_loop
from tests.support.served import served
from tests.support.shop import Shop
from tests.support.waiting import eventually


class Pipe(ServedEngine):
    """Each byte that comes calls `shop.price`; an answer is a byte."""

    def __init__(self, parts: Any) -> None:
        super().__init__(parts, "pipe")

    def receive_data(self, data: bytes) -> int:
        for byte in data:
            method, argument = ("shop.price", b'["apple"]') if byte == 33 else ("shop.pack", b'["apple"]')
            self.gate.begin(self.exchange, method=method, payload=argument, codec="json")
        return len(data)

    def answer(self, call: ServerCall, payload: bytes) -> None:
        self.send(b"+")

    def fail(self, call: ServerCall, failure: Failure) -> None:
        self.send(b"-")


class SlowPipe(Pipe):
    """Begins with `#`; each `.` takes half a millisecond, and `x` cancels the first call."""

    def __init__(self, parts: Any) -> None:
        super().__init__(parts)
        self.calls: list[ServerCall] = []

    def receive_data(self, data: bytes) -> int:
        for at, byte in enumerate(data):
            if byte == ord("."):
                keep_the_loop(0.0005)
            elif byte == ord("x"):
                self.gate.cancel_call(self.calls[0])
            elif byte != ord("#"):
                super().receive_data(data[at : at + 1])
            if self.turn_is_over():
                return at + 1
        return len(data)

    def hold(self, call: ServerCall) -> None:
        self.calls.append(call)


register("slow pipe", lambda data: Verdict.YES if data[:1] == b"#" else Verdict.NO, SlowPipe)
register("pipe", lambda data: Verdict.YES if data[:1] in b"!?" else Verdict.NO, Pipe)
CONFIG = ServerConfig(protocols=("native", "pipe", "slow pipe"))


async def open_pipe(target: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    [listener] = target.server._listeners
    return await asyncio.open_connection(listener.address.host, listener.address.port)


async def test_a_server_speaks_it_beside_native() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target, Client(target) as client:
        reader, writer = await open_pipe(target)
        writer.write(b"!!")
        assert await reader.readexactly(2) == b"++"
        assert await client.call(Shop.price, "apple") == 5
        writer.close()
        await eventually(lambda: len(target.server._gate.sessions) == 1)


async def test_what_it_holds_is_counted_and_ended_with_the_connection() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target:
        _, writer = await open_pipe(target)
        writer.write(b"???")
        await eventually(lambda: target.server.stats()["live"]["calls"] == 3)
        [engine] = target.server._gate.sessions
        assert (engine.stats()["calls"], engine.has_drained) == (3, False)
        writer.transport.abort()
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)


async def test_its_calls_end_with_a_server_that_closes() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target:
        reader, writer = await open_pipe(target)
        writer.write(b"?")
        await eventually(lambda: target.server.stats()["live"]["calls"] == 1)
        [engine] = target.server._gate.sessions
        engine.end_calls("it is time")
        assert await reader.readexactly(1) == b"-"
        writer.close()


async def test_an_exchange_outlives_its_engine() -> None:
    class Keeping(Shop):
        kept: Any = None

        async def pack(self, item: str) -> str:
            Keeping.kept = current_call().exchange
            return await super().pack(item)

    async with served(Keeping, scheme="tcp", config=CONFIG) as target:
        _, writer = await open_pipe(target)
        writer.write(b"?")
        await eventually(lambda: Keeping.kept is not None)
        writer.transport.abort()
        await eventually(lambda: not target.server._gate.sessions)
        gc.collect()
        assert Keeping.kept.engine is None
        assert Keeping.kept.describe_peer() is not None
        Keeping.kept.abandon()
        Keeping.kept.answer(None, b"nobody takes it")


async def test_an_engine_is_initialised_once() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target:
        _, writer = await open_pipe(target)
        writer.write(b"?")
        await eventually(lambda: target.server._gate.sessions)
        [engine] = target.server._gate.sessions
        with pytest.raises(RuntimeError, match="initialised once"):
            ServedEngine.__init__(engine, None, "pipe")
        writer.close()


async def test_a_call_does_not_start_while_its_cancel_waits_for_a_turn_of_the_loop() -> None:
    shop = Shop()
    async with served(shop, scheme="tcp", config=CONFIG) as target:
        reader, writer = await open_pipe(target)
        # The watch for stalls begins with the first read.
        writer.write(b"#!")
        assert await reader.readexactly(1) == b"+"
        [session] = target.server._gate.sessions
        keep_the_loop(0.1)
        writer.write(b"?" + b"." * 1_000 + b"x")
        await eventually(lambda: session.calls)
        assert await reader.readexactly(1) == b"-"
        assert shop.started == 1
        writer.close()
