"""The server's side of a protocol in Python: what is not the protocol comes with its base class."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import Client, Keepalive, ServerConfig, Timeouts, current_call
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_engine import ServedEngine
from fastrpc.protocols.base import Match, register
from fastrpc_harness.checking import check
from tests.support.blocking import keep_the_loop
from tests.support.peer_writing import write_to
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
            self.gate.begin(self.connection, method=method, payload=argument, codec="json")
        return len(data)

    def answer(self, call: ServerCall, payload: bytes) -> None:
        self.send(b"+")

    def fail(self, call: ServerCall, failure: Failure) -> None:
        self.send(b"-")


class SlowPipe(Pipe):
    """Begins with `#`; `_` takes longer than a turn of the loop, `.` no time, and `x` cancels the first call."""

    def __init__(self, parts: Any) -> None:
        super().__init__(parts)
        self.calls: list[ServerCall] = []
        #: How often a turn ended before all that had come.
        self.ended_turns = 0

    def receive_data(self, data: bytes) -> int:
        for at, byte in enumerate(data):
            if byte == ord("_"):
                keep_the_loop(0.02)
            elif byte == ord("x"):
                self.gate.cancel_call(self.calls[0])
            elif byte not in b"#.":
                super().receive_data(data[at : at + 1])
            if self.turn_is_over():
                self.ended_turns += at + 1 < len(data)
                return at + 1
        return len(data)

    def hold(self, call: ServerCall) -> None:
        self.calls.append(call)


class Greeter(Pipe):
    """Speaks first: its peers may be silent for as long as they like."""

    def connection_made(self) -> None:
        self.send(b"*")
        self.opened()


class Ticker(Pipe):
    """Sends unasked, which its use of the connection is."""

    def tick(self) -> None:
        self.send(b"*")
        self.note_use()


register("greeter", lambda data: Match.NO, Greeter)
register("ticker", lambda data: Match.NO, Ticker)
register("slow pipe", lambda data: Match.YES if data[:1] == b"#" else Match.NO, SlowPipe)
register("pipe", lambda data: Match.YES if data[:1] in b"!?" else Match.NO, Pipe)
CONFIG = ServerConfig(protocols=("native", "pipe", "slow pipe"))


@asynccontextmanager
async def alone(protocol: str, timeouts: Timeouts) -> AsyncIterator[Any]:
    """Yield the engine of a connection whose peer says nothing."""
    keepalive = Keepalive(interval=None, timeout=80_000)
    config = ServerConfig(protocols=(protocol,), timeouts=timeouts, keepalive=keepalive)
    async with served(Shop, scheme="tcp", config=config) as target:
        _, writer = await open_pipe(target)
        await eventually(lambda: target.server._gate.engines)
        [engine] = target.server._gate.engines
        yield engine
        writer.close()


def look(engine: Any, seconds: float) -> None:
    """Let so much time have passed since now."""
    check(engine, time.monotonic_ns() + int(seconds * 1e9))


async def open_pipe(target: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    [listener] = target.server._listening.listeners
    return await asyncio.open_connection(listener.address.host, listener.address.port)


async def test_a_server_speaks_it_beside_native() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target, Client(target) as client:
        reader, writer = await open_pipe(target)
        write_to(writer, b"!!")
        assert await reader.readexactly(2) == b"++"
        assert await client.call(Shop.price, "apple") == 5
        writer.close()
        await eventually(lambda: len(target.server._gate.engines) == 1)


async def test_what_it_holds_is_counted_and_ended_with_the_connection() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target:
        _, writer = await open_pipe(target)
        write_to(writer, b"???")
        await eventually(lambda: target.server.stats()["live"]["calls"] == 3)
        [engine] = target.server._gate.engines
        assert (engine.stats()["calls"], engine.has_drained) == (3, False)
        writer.transport.abort()
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)


async def test_its_calls_end_with_a_server_that_closes() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target:
        reader, writer = await open_pipe(target)
        write_to(writer, b"?")
        await eventually(lambda: target.server.stats()["live"]["calls"] == 1)
        [engine] = target.server._gate.engines
        engine.end_calls("it is time")
        assert await reader.readexactly(1) == b"-"
        writer.close()


async def test_a_connection_outlives_its_engine() -> None:
    class Keeping(Shop):
        kept: Any = None

        async def pack(self, item: str) -> str:
            Keeping.kept = current_call().connection
            return await super().pack(item)

    async with served(Keeping, scheme="tcp", config=CONFIG) as target:
        _, writer = await open_pipe(target)
        write_to(writer, b"?")
        await eventually(lambda: Keeping.kept is not None)
        writer.transport.abort()
        await eventually(lambda: not target.server._gate.engines)
        gc.collect()
        assert Keeping.kept.engine is None
        assert Keeping.kept.describe_peer() is not None
        Keeping.kept.abandon()
        Keeping.kept.answer(None, b"nobody takes it")


async def test_a_peer_that_says_nothing_is_cut_at_the_end_of_its_opening() -> None:
    async with alone("pipe", Timeouts(handshake=5, idle=None)) as engine:
        look(engine, 4)
        assert not engine.is_closed
        look(engine, 6)
        assert engine.is_closed


async def test_an_engine_that_speaks_first_ends_the_opening_itself() -> None:
    async with alone("greeter", Timeouts(handshake=5, idle=None)) as engine:
        look(engine, 60)
        assert not engine.is_closed


async def test_a_connection_that_an_engine_uses_does_not_rest() -> None:
    async with alone("ticker", Timeouts(handshake=None, idle=50)) as engine:
        before = time.monotonic_ns()
        await eventually(lambda: time.monotonic_ns() > before + 100_000_000)
        engine.tick()
        await eventually(lambda: engine.unsent_bytes() == 0)
        # So long after its begin it would have rested.
        check(engine, before + 50_050_000_000)
        assert not engine.is_closed
        look(engine, 51)
        assert engine.is_closed


async def test_an_engine_is_initialised_once() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target:
        _, writer = await open_pipe(target)
        write_to(writer, b"?")
        await eventually(lambda: target.server._gate.engines)
        [engine] = target.server._gate.engines
        with pytest.raises(RuntimeError, match="initialised once"):
            ServedEngine.__init__(engine, None, "pipe")
        writer.close()


async def test_a_call_does_not_start_while_its_cancel_waits_for_a_turn_of_the_loop() -> None:
    shop = Shop()
    async with served(shop, scheme="tcp", config=CONFIG) as target:
        reader, writer = await open_pipe(target)
        # The watch for stalls begins with the first read.
        write_to(writer, b"#!")
        assert await reader.readexactly(1) == b"+"
        [session] = target.server._gate.engines
        for _ in range(20):
            started = shop.started
            keep_the_loop(0.1)
            ended = session.ended_turns
            write_to(writer, b"?_" + b"." * 1_000 + b"x")
            await eventually(lambda: session.calls)
            assert await reader.readexactly(1) == b"-"
            assert session.ended_turns > ended
            if shop.started == started:
                break
        else:
            pytest.fail("each call began ahead of its cancel")
        writer.close()
