"""Connections, clients and servers used in every wrong order: an exception at worst, never a crash or a hang."""

import asyncio
import gc
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

import fastrpc
from fastrpc import Client, Server, current_call
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.endpoint import Address
from tests.support.ledger import Journal
from tests.support.noted import Noted
from tests.support.served import served
from tests.support.waiting import eventually

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@fastrpc.service("hasty")
class Hasty:
    """Handlers that end things they stand on."""

    def __init__(self) -> None:
        self.inside = asyncio.Event()
        self.client: Client
        self.server: Server

    @fastrpc.method
    async def wait(self) -> None:
        self.inside.set()
        await asyncio.Event().wait()

    @fastrpc.method
    async def close_connection(self) -> str:
        current_call().connection.engine.close()  # type: ignore[attr-defined]
        return "too late"

    @fastrpc.method
    async def abort_connection(self) -> str:
        current_call().connection.engine.abort()  # type: ignore[attr-defined]
        return "too late"

    @fastrpc.method
    async def close_client(self) -> None:
        await self.client.close()

    @fastrpc.method
    async def close_server(self) -> None:
        await self.server.close()


async def test_closing_twice_is_fine() -> None:
    async with served(Hasty, scheme="tcp") as target:
        client = Client(target)
        await client.ready()
        await client.close()
        await client.close()
        await asyncio.gather(client.close(), client.close())
        await target.server.close()
        await target.server.close()
        assert await target.server.drain() is True


async def test_a_client_that_was_never_used_can_be_closed() -> None:
    client = Client("tcp://127.0.0.1:1")
    await client.close()
    with pytest.raises(fastrpc.UnavailableError, match="closed"):
        await client.call(Hasty.wait)


async def test_closing_at_the_same_time_from_both_sides() -> None:
    async with served(Hasty, scheme="tcp") as target:
        client = Client(target)
        await client.ready()
        calls = [asyncio.ensure_future(client.call(Hasty.wait)) for _ in range(10)]
        await eventually(lambda: target.server.stats()["live"]["calls"] == 10)
        await asyncio.gather(client.close(), target.server.close())
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, fastrpc.FastRPCError) for result in results)


async def test_closing_a_server_while_it_drains() -> None:
    hasty = Hasty()
    async with served(hasty, scheme="tcp") as target, Client(target) as client:
        call = asyncio.ensure_future(client.call(Hasty.wait))
        await hasty.inside.wait()
        draining = asyncio.ensure_future(target.server.drain())
        await asyncio.sleep(0)
        await target.server.close()
        assert await draining in (True, False)
        with pytest.raises(fastrpc.FastRPCError):
            await call


@pytest.mark.parametrize("method", ["close_connection", "abort_connection", "close_client", "close_server"])
@pytest.mark.parametrize("scheme", ["tcp", "memory"])
async def test_a_handler_may_close_the_connection_client_or_server_of_its_call(
    method: str, scheme: str
) -> None:
    hasty = Hasty()
    async with served(hasty, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        hasty.client, hasty.server = client, target.server
        async with asyncio.timeout(10):
            with pytest.raises((fastrpc.FastRPCError, asyncio.CancelledError)):
                await client.call(getattr(Hasty, method))


async def test_a_client_may_be_closed_in_the_callback_of_its_call() -> None:
    async with served(Noted(Journal()), scheme="tcp") as target:
        client = Client(target)
        closing: list[asyncio.Task[None]] = []
        call = asyncio.ensure_future(client.call(Noted.once, b"\x00"))
        call.add_done_callback(lambda _: closing.append(asyncio.ensure_future(client.close())))
        assert await call == b"\x00"
        await closing[0]


async def test_a_call_made_while_the_client_closes_is_refused() -> None:
    async with served(Noted(Journal()), scheme="tcp") as target:
        client = Client(target)
        await client.ready()
        closing = asyncio.ensure_future(client.close())
        await asyncio.sleep(0)
        with pytest.raises(fastrpc.UnavailableError, match="closed") as failed:
            await client.call(Noted.once, b"\x00")
        assert failed.value.processed == "no"
        await closing


def callbacks(session: Any) -> list[Callable[[], object]]:
    """Return everything a transport or an owner may call on a session and its stream."""
    stream = session.stream
    return [
        lambda: stream.get_buffer(-1),
        lambda: stream.buffer_updated(0),
        stream.eof_received,
        stream.pause_writing,
        stream.resume_writing,
        session.close,
        session.abort,
        lambda: session.begin_drain(0),
        lambda: stream.connection_lost(None),
        session.stats,
    ]


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_lost_session_bears_every_callback_in_any_order(side: str) -> None:
    for first, second in itertools.permutations(range(10), 2):
        async with served(Hasty, scheme="memory") as target, Client(target) as client:
            await client.ready()
            [server_session] = target.server._gate.engines  # type: ignore[union-attr]
            session = client._pool.connections[0] if side == "client" else server_session
            session.abort()
            calls = callbacks(session)
            await eventually(lambda: session.transport is None)  # noqa: B023 - awaited at once
            calls[first]()
            calls[second]()


def test_a_session_that_was_never_connected_bears_them_too() -> None:
    async def check() -> None:
        async with Server(Hasty) as server:
            make_stream = server._accepting.session_maker(Address.parse("tcp://127.0.0.1:1"))
            for first, second in itertools.permutations(range(10), 2):
                stream = make_stream()
                callbacks(stream.engine)[first]()
                callbacks(stream.engine)[second]()

    asyncio.run(check())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("order", list(itertools.permutations(("client", "server", "loop"))))
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_order_of_closing_is_survived(order: tuple[str, ...], loop: str) -> None:
    runner = LOOPS[loop]()
    kept: list[Any] = []

    async def begin() -> tuple[Client, Server]:
        server = await Server(Hasty()).__aenter__()
        client = Client(str(await server.listen("tcp://127.0.0.1:0")))
        await client.ready()
        kept.append(asyncio.ensure_future(client.call(Hasty.wait)))
        await asyncio.sleep(0.01)
        return client, server

    client, server = runner.run_until_complete(begin())
    closers = {"client": client.close, "server": server.close}
    for step in order:
        if step == "loop":
            runner.close()
        elif not runner.is_closed():
            runner.run_until_complete(closers[step]())
        else:
            # No loop runs it any more; it does all that works without a loop.
            closing = closers[step]()
            with pytest.raises((RuntimeError, StopIteration, TypeError, AttributeError)):
                for _ in range(10):
                    closing.send(None)
            closing.close()
    kept.clear()
    del client, server, closers
    gc.collect()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_calls_under_way_when_the_loop_is_gone_leave_no_trace(loop: str) -> None:
    async def leave() -> None:
        server = await Server(Hasty()).__aenter__()
        client = Client(str(await server.listen("tcp://127.0.0.1:0")))
        await client.ready()
        under_way.append(asyncio.ensure_future(client.call(Hasty.wait)))
        await asyncio.sleep(0.01)

    under_way: list[Any] = []
    gc.collect()
    held = bytes_held()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(leave())
        under_way.clear()
        gc.collect()
        categories = {warning.category for warning in caught}
        # The record of the server's warning refers to the server, and objects of its loop.
        caught.clear()
        gc.collect()
    assert bytes_held() == held
    assert categories | {warning.category for warning in caught} <= {ResourceWarning}
    # The next loop begins afresh.
    asyncio.run(serve_once())


async def serve_once() -> None:
    async with served(Noted(Journal()), scheme="tcp") as target, Client(target) as client:
        assert await client.call(Noted.once, b"\x00") == b"\x00"
    assert loop_state(asyncio.get_running_loop()).live_timers == 0
