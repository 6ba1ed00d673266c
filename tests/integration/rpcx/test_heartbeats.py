"""Heartbeats of both clients that speak rpcx, against servers by hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastrpc import ClientConfig, DeadlineExceededError, Keepalive, Status, UnavailableError
from tests.support.either_client import CLIENTS, connected
from tests.support.peer_writing import write_to
from tests.support.rpcx_wire import Frame, RpcxParser, answered_with
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

BEATS = 3
LONG = bytes(range(256)) * 1_000

#: Seconds. An asynchronous client, which shares its loop with the server, forgives stalls, and looks again
#: only after so long.
TIMEOUT = {"async": 0.3, "sync": 5.0}

both = pytest.mark.parametrize("kind", CLIENTS)


class ServerByHand:
    """Answers each call of `Arith.First`; a subclass decides about other calls."""

    def __init__(self) -> None:
        self.held: Frame | None = None
        self.beats = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = RpcxParser()
        while data := await reader.read(65_536):
            for frame in parser.feed(data):
                if frame.heartbeat:
                    # Heartbeats before the call are of no interest.
                    self.beats += self.held is not None
                    write_to(writer, self.at_beat(frame))
                elif frame.method == "First":
                    write_to(writer, answered_with(frame, 1).encode())
                else:
                    self.held = frame

    def at_beat(self, frame: Frame) -> bytes:
        """Return the bytes to send at a heartbeat."""
        return b""


class Beating(ServerByHand):
    """Answers heartbeats, and after some of them the call."""

    def at_beat(self, frame: Frame) -> bytes:
        beat = answered_with(frame, 0).encode()
        if self.held is None or self.beats != BEATS:
            return beat
        return beat + answered_with(self.held, "late").encode()


class Slow(ServerByHand):
    """Answers no heartbeat, but sends a further part of a long answer at each."""

    def at_beat(self, frame: Frame) -> bytes:
        if self.held is None:
            return answered_with(frame, 0).encode()
        data = answered_with(self.held, LONG).encode()
        size = len(data) // BEATS
        at = size * (self.beats - 1)
        return data[at : at + size] if self.beats < BEATS else data[at:]


@asynccontextmanager
async def listening(server: ServerByHand) -> AsyncIterator[str]:
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await server.serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    opened = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, port = opened.sockets[0].getsockname()[:2]
        yield f"tcp://{host}:{port}"
    finally:
        opened.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def config(timeout: float) -> ClientConfig:
    return ClientConfig(wire_protocol="rpcx", keepalive=Keepalive(interval=0.05, timeout=timeout))


@both
async def test_a_server_that_reads_but_is_silent_fails_a_call_without_limit(kind: str) -> None:
    async with listening(ServerByHand()) as target, connected(kind, target, config=config(0.2)) as client:
        async with asyncio.timeout(30):
            with pytest.raises(UnavailableError, match="a ping included") as caught:
                await client.with_options(timeout=None).call("Arith.Second", 1)
    assert (caught.value.status, caught.value.processed) == (Status.UNAVAILABLE, "unknown")


@both
async def test_calls_that_time_out_do_not_hide_that_a_server_is_silent(kind: str) -> None:
    """This side answers their cancels: the outcomes say nothing about the server."""
    async with listening(ServerByHand()) as target, connected(kind, target, config=config(0.2)) as client:
        waits = asyncio.ensure_future(client.with_options(timeout=None).call("Arith.Second", 1))
        async with asyncio.timeout(30):
            while not waits.done():
                with pytest.raises((DeadlineExceededError, UnavailableError)):
                    await client.with_options(timeout=0.02).call("Arith.Third", 1)
            with pytest.raises(UnavailableError, match="a ping included"):
                await waits


@both
@pytest.mark.parametrize(
    ("kind_of_server", "value"), [(Beating, "late"), (Slow, LONG)], ids=["beats", "slow"]
)
async def test_a_server_that_shows_life_is_waited_for(
    kind: str, kind_of_server: type[ServerByHand], value: str | bytes
) -> None:
    server = kind_of_server()
    async with listening(server) as target, connected(kind, target, config=config(TIMEOUT[kind])) as client:
        assert await client.call("Arith.First", 1) == 1
        async with asyncio.timeout(30):
            assert await client.with_options(timeout=None).call("Arith.Second", 1) == value
    assert server.beats >= BEATS


@both
async def test_the_part_of_a_long_request_that_the_server_has_not_taken_is_known(kind: str) -> None:
    """Otherwise a server that reads it slowly would count as one that reads nothing."""
    size = 16_000_000
    may_read = asyncio.Event()

    class Busy(ServerByHand):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await may_read.wait()
            await super().serve(reader, writer)

    async with listening(Busy()) as target, connected(kind, target, config=config(30)) as client:
        call = asyncio.ensure_future(client.with_options(timeout=60).call("Arith.First", bytes(size)))
        stats = client.stats if kind == "async" else client.client.stats
        seen = [0]

        def rests() -> bool:
            seen.append(stats()["buffered"])
            return 0 < seen[-1] < size and len(seen) > 700 and len(set(seen[-100:])) == 1

        await eventually(rests)
        # The remaining bytes are in the sockets.
        assert seen[-1] > size // 4
        may_read.set()
        assert await call == 1
        await eventually(lambda: stats()["buffered"] == 0)
