"""Closing clients, servers, calls and loops in every order."""

import asyncio
import gc
import itertools
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import uvloop

import fastrpc
from fastrpc import Client, Server, UnavailableError
from fastrpc.testing import serving
from tests.support.descriptors import open_descriptors, other_threads_leave
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually


@fastrpc.service("patient")
class Patient:
    def __init__(self) -> None:
        self.inside = asyncio.Event()
        self.ended = asyncio.Event()

    @fastrpc.method
    async def wait(self) -> None:
        self.inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    @fastrpc.method
    async def echo(self, value: int) -> int:
        return value


@pytest.fixture(autouse=True)
def nothing_is_reported(request: pytest.FixtureRequest) -> Any:
    """Fail a test whose loop reported an error to its exception handler."""
    reported: list[dict[str, Any]] = []
    original = asyncio.BaseEventLoop.call_exception_handler
    asyncio.BaseEventLoop.call_exception_handler = lambda _, context: reported.append(context)  # type: ignore[method-assign, assignment]
    yield
    asyncio.BaseEventLoop.call_exception_handler = original  # type: ignore[method-assign]
    assert reported == []


STEPS = ("close the client", "close the server", "cancel the call", "drop the connection")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_closing_in_every_order_ends_everything(scheme: str) -> None:
    for order in itertools.permutations(STEPS):
        await end_everything(scheme, order)


async def end_everything(scheme: str, order: tuple[str, ...]) -> None:
    patient = Patient()
    async with asyncio.timeout(20), served(patient, scheme=scheme) as target:
        client = Client(target)
        call = asyncio.ensure_future(client.call(Patient.wait))
        await patient.inside.wait()
        (session,) = client._pool.connections
        for step in order:
            match step:
                case "close the client":
                    await client.close()
                case "close the server":
                    await target.server.close()
                case "cancel the call":
                    call.cancel()
                case "drop the connection":
                    session.abort()
        with pytest.raises((UnavailableError, asyncio.CancelledError)):
            await call
        await patient.ended.wait()
        await eventually(lambda: not any(target.server.stats()["live"].values()))
        assert client.stats()["live"]["calls"] == 0
        assert client.stats()["buffered"] == 0


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_closing_twice_and_at_once_is_fine(scheme: str) -> None:
    async with served(Patient, scheme=scheme) as target:
        client = Client(target)
        await client.call(Patient.echo, 1)
        await asyncio.gather(client.close(), client.close(), target.server.close(), target.server.close())
        await client.close()
        await target.server.close()
        assert await target.server.drain() is True


async def test_unused_objects_can_be_closed() -> None:
    client, server = Client("memory://never-used"), Server(Patient)
    await client.close()
    await client.close()
    await server.close()
    async with Client("memory://never-used"):
        pass
    async with Server(Patient):
        pass


async def test_a_closed_client_and_server_take_nothing_more() -> None:
    client, server = Client("memory://closed"), Server(Patient)
    await client.close()
    with pytest.raises(UnavailableError, match="closed"):
        await client.call(Patient.echo, 1)
    with pytest.raises(UnavailableError, match="closed"):
        await client.ready()
    await server.listen("memory://closed")
    await server.close()
    with pytest.raises(RuntimeError, match="closed"):
        await server.listen("memory://closed")


async def test_closing_while_connecting_ends_waiting_calls() -> None:
    client = Client("memory://nobody-there-yet")
    view = client.with_options(wait_for_ready=True, timeout=None)
    calls = [asyncio.ensure_future(view.call(Patient.echo, n)) for n in range(3)]
    ready = asyncio.ensure_future(client.ready())
    await asyncio.sleep(0)
    await client.close()
    for waiting in (*calls, ready):
        with pytest.raises(UnavailableError, match="closed"):
            await waiting


async def test_closing_inside_a_handler_and_an_interceptor_does_not_hang() -> None:
    @fastrpc.service("closer")
    class Closer:
        @fastrpc.method
        async def close_client(self) -> None:
            await client.close()

        @fastrpc.method
        async def close_server(self) -> None:
            await target.server.close()

    for name in ("close_client", "close_server"):
        async with asyncio.timeout(20), served(Closer) as target:
            client = Client(target)
            with pytest.raises(fastrpc.FastRPCError):
                await client.call(f"closer.{name}")
            await client.close()


async def test_draining_inside_a_handler_ends_when_its_time_is_over() -> None:
    results: list[bool] = []

    @fastrpc.service("drainer")
    class Drainer:
        @fastrpc.method
        async def drain(self) -> None:
            results.append(await target.server.drain(0.02))

    async with asyncio.timeout(20), served(Drainer) as target, Client(target) as client:
        with pytest.raises(fastrpc.FastRPCError):
            await client.call(Drainer.drain)


Leaving = Callable[[str], Any]


async def leave_client(target: str) -> None:
    await Client(target).call(Patient.echo, 1)


async def leave_call(target: str) -> None:
    client = Client(target)
    await client.call(Patient.echo, 1)
    client.call(Patient.wait).send(None)


async def leave_server(target: str) -> None:
    await Server(Patient).listen("tcp://127.0.0.1:0")


async def leave_both(target: str) -> None:
    server = Server(Patient())
    client = Client(str(await server.listen("tcp://127.0.0.1:0")))
    await client.call(Patient.echo, 1)
    # The server may begin it before the loop ends, so it is one whose handler ends.
    client.call(Patient.echo, 2).send(None)


@pytest.mark.parametrize("leaving", [leave_client, leave_call, leave_server, leave_both])
@pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_objects_left_open_when_the_loop_ends_warn_and_are_freed(loops: Any, leaving: Leaving) -> None:
    with serving(Patient) as target, warnings.catch_warnings():
        # The record of the warning refers to the client, and the sockets of a closed loop warn later.
        warnings.simplefilter("ignore", ResourceWarning)
        # The first loop of libuv opens a pipe for signals that the process keeps.
        loops().close()
        before = open_descriptors()
        with pytest.warns(ResourceWarning):
            loop = loops()
            loop.run_until_complete(leaving(target))
            loop.close()
            del loop
            gc.collect()
        gc.collect()
        gc.collect()
        # The server's thread closes its side when it hears of it.
        assert other_threads_leave(before)


def test_closed_objects_do_not_warn() -> None:
    async def main(target: str) -> None:
        async with Client(target) as client, Server(Patient) as server:
            await client.call(Patient.echo, 1)
            async with Client(str(await server.listen("tcp://127.0.0.1:0"))) as other:
                await other.with_options(timeout=20).call(Patient.echo, 1)

    with serving(Patient) as target, warnings.catch_warnings():
        warnings.simplefilter("error")
        for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(main(target))
            gc.collect()


def test_a_memory_name_whose_loop_ended_can_be_used_again() -> None:
    async def main(*, close: bool) -> None:
        server = Server(Patient)
        client = Client(str(await server.listen("memory://used-again")))
        assert await client.call(Patient.echo, 1) == 1
        if close:
            await client.close()
            await server.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(main(close=False))
        asyncio.run(main(close=True))
        gc.collect()


async def test_a_client_dropped_while_its_loop_runs_can_be_dropped() -> None:
    async with served(Patient, scheme="tcp") as target:
        for _ in range(3):
            client = Client(target)
            await client.call(Patient.echo, 1)
            with suppress(fastrpc.FastRPCError):
                await client.close()
            del client
        gc.collect()
        await eventually(lambda: target.server.stats()["live"]["connections"] == 0)
