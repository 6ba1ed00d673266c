"""Failed calls show the program's lines, and at most three frames of ours."""

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ConnectError,
    FastRPCError,
    Server,
    ServerConfig,
    Services,
    Status,
    SyncClient,
)
from fastrpc.grpc import aio
from fastrpc.registries import StaticRegistry
from fastrpc.tracebacks import OWN

pytestmark = pytest.mark.one_loop

#: Nothing listens there.
NOWHERE = "tcp://127.0.0.1:1"
MOST = 3


@fastrpc.service("faulty")
class Faulty:
    @fastrpc.method(idempotent=True)
    async def fail(self, number: int = 0) -> int:
        raise CallError(Status.NOT_FOUND, "no such thing")

    @fastrpc.method
    async def wait(self) -> int:
        await asyncio.Event().wait()
        return 0

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number
        raise CallError(Status.NOT_FOUND, "no more")

    @fastrpc.method
    async def add(self, numbers: AsyncIterator[int]) -> int:
        async for number in numbers:
            raise CallError(Status.INVALID_ARGUMENT, f"{number} is too many")
        return 0


def own_frames(error: BaseException) -> list[list[str]]:
    """Return our frames in the traceback of an error, and in the tracebacks of its causes."""
    chain: list[list[str]] = []
    one: BaseException | None = error
    while one is not None and len(chain) < 20:
        frames = traceback.extract_tb(one.__traceback__)
        chain.append(
            [f"{frame.filename}:{frame.lineno}" for frame in frames if frame.filename.startswith(OWN)]
        )
        one = one.__cause__ or one.__context__
    return chain


def shown_lines(error: BaseException) -> list[str]:
    return "".join(traceback.format_exception(error)).splitlines()


async def entered(stream: Any) -> None:
    async with stream:
        pass


async def taken(stream: Any, verb: str, *arguments: Any) -> None:
    async with stream as opened:
        while True:
            await getattr(opened, verb)(*arguments)


async def iterated(stream: Any) -> None:
    async with stream as opened:
        async for _ in opened:
            pass


async def reply_of(stream: Any) -> None:
    async with stream as opened:
        with contextlib.suppress(CallError):
            await opened.receive()
        opened.reply  # noqa: B018


Calls = dict[str, Callable[[Any, Any], Awaitable[Any]]]

#: Each gets a client of a server that answers, and one of an address where nothing listens.
FAILING: Calls = {
    "call": lambda live, dead: live.call(Faulty.fail),
    "call by name": lambda live, dead: live.call("faulty.fail"),
    "call of an unknown method": lambda live, dead: live.call("faulty.none"),
    "call with a wrong argument": lambda live, dead: live.call("faulty.fail", "x"),
    "call that cannot be encoded": lambda live, dead: live.call("faulty.fail", object()),
    "call too many arguments": lambda live, dead: live.call(Faulty.fail, 1, 2),
    "call over its deadline": lambda live, dead: live.with_options(timeout=0.01).call(Faulty.wait),
    "call of nobody": lambda live, dead: dead.call(Faulty.fail),
    "call that waits for nobody": lambda live, dead: dead.with_options(
        wait_for_ready=True, timeout=0.05
    ).call(Faulty.wait),
    "request": lambda live, dead: live.request(Faulty.fail),
    "request of nobody": lambda live, dead: dead.request(Faulty.fail),
    "notify nobody": lambda live, dead: dead.notify(Faulty.fail),
    "many": lambda live, dead: live.call_many(Faulty.fail, [(1,), (2,)]),
    "many of nobody": lambda live, dead: dead.call_many(Faulty.fail, [(1,), (2,)]),
    "bound": lambda live, dead: live.bind(Faulty).fail(),
    "bound to nobody": lambda live, dead: dead.bind(Faulty).fail(),
    "fork": lambda live, dead: live.fork(Faulty.fail),
    "fork of nobody": lambda live, dead: dead.fork(Faulty.fail),
    "input": lambda live, dead: live.call(Faulty.add, iter([1])),
    "input of nobody": lambda live, dead: dead.call(Faulty.add, iter([1])),
    "failfast": lambda live, dead: live.with_options(fail_mode="failfast").call(Faulty.fail),
    "failtry": lambda live, dead: dead.with_options(fail_mode="failtry").call(Faulty.fail),
    "failbackup": lambda live, dead: live.with_options(fail_mode="failbackup").call(Faulty.fail),
}
STREAMS: Calls = {
    "stream": lambda live, dead: iterated(live.stream(Faulty.count, 2)),
    "stream of nobody": lambda live, dead: entered(dead.stream(Faulty.count, 2)),
    "received": lambda live, dead: taken(live.stream(Faulty.count, 2), "receive"),
    "received many": lambda live, dead: taken(live.stream(Faulty.count, 2), "receive_many"),
    "headers": lambda live, dead: taken(live.stream(Faulty.count, 0), "headers"),
    "sent": lambda live, dead: taken(live.open(Faulty.add), "send", 1),
    "sent many": lambda live, dead: taken(live.open(Faulty.add), "send_many", [1, 2]),
    "sent wrongly": lambda live, dead: taken(live.open(Faulty.add), "send", object()),
    "reply": lambda live, dead: reply_of(live.stream(Faulty.count, 0)),
    "ready": lambda live, dead: dead.ready(timeout=0.05),
}


@contextlib.asynccontextmanager
async def clients(**options: Any) -> AsyncIterator[tuple[Client, Client]]:
    async with Server(Faulty()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address), **options) as live, Client(NOWHERE, **options) as dead:
            await live.ready(timeout=10)
            yield live, dead


def check(error: BaseException, case: str) -> None:
    frames = own_frames(error)
    assert all(len(one) <= MOST for one in frames), f"{case}: {frames}"
    assert any(line.startswith(f'  File "{__file__}"') for line in shown_lines(error)), case


def test_at_least_thirty_tracebacks_are_checked() -> None:
    assert len(FAILING) + len(STREAMS) >= 30


@pytest.mark.parametrize("case", [*FAILING, *STREAMS])
async def test_a_failed_call_shows_the_callers_lines(case: str) -> None:
    async with clients() as (live, dead):
        with pytest.raises(Exception) as failed:
            await (FAILING | STREAMS)[case](live, dead)
        check(failed.value, case)


@pytest.mark.parametrize("case", FAILING)
async def test_a_failed_call_of_a_blocking_client_shows_the_callers_lines(case: str) -> None:
    def call(target: str) -> BaseException:
        with SyncClient(target) as live, SyncClient(NOWHERE) as dead:
            try:
                FAILING[case](live, dead)
            except Exception as error:
                return error
        raise AssertionError("it did not fail")

    async with Server(Faulty()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        check(await asyncio.to_thread(call, str(address)), case)


async def passing(call: Any, proceed: Any) -> Any:
    return await proceed(call)


async def test_frames_of_interceptors_stay() -> None:
    async with clients(interceptors=[passing, passing]) as (live, dead):
        for case in ("call", "call of nobody", "many", "input"):
            with pytest.raises(Exception) as failed:
                await FAILING[case](live, dead)
            names = [frame.name for frame in traceback.extract_tb(failed.value.__traceback__)]
            assert names.count("passing") == 2, (case, names)
            check(failed.value, case)


async def broken(call: Any, proceed: Any) -> Any:
    raise ValueError("broken")


async def test_errors_of_interceptors_show_where_they_were_raised() -> None:
    async with clients(interceptors=[passing, broken]) as (live, _):
        with pytest.raises(ValueError, match="broken") as failed:
            await live.call(Faulty.fail)
        names = [frame.name for frame in traceback.extract_tb(failed.value.__traceback__)]
        assert names[-1] == "broken"
        assert "passing" in names
        check(failed.value, "broken")


async def test_calls_through_services_and_the_drop_in_show_the_callers_lines() -> None:
    config = ServerConfig(protocols=("native", "grpc"))
    async with Server(Faulty(), config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Services(StaticRegistry({"faulty": [str(address)]})) as services:
            with pytest.raises(CallError) as failed:
                await services.call(Faulty.fail)
            check(failed.value, "services")
        async with aio.insecure_channel(f"{address.host}:{address.port}") as channel:
            with pytest.raises(aio.AioRpcError) as refused:
                await channel.unary_unary("/faulty/fail")(b"")
            check(refused.value, "drop-in")


async def test_a_variable_keeps_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTRPC_TRACEBACKS", "full")
    async with clients() as (_, dead):
        with pytest.raises(ConnectError) as failed:
            await dead.call(Faulty.fail)
        assert len(own_frames(failed.value)[0]) > MOST


async def test_a_failed_call_fits_on_a_screen() -> None:
    async with clients() as (live, dead):
        for case in ("call", "call of nobody"):
            with pytest.raises(FastRPCError) as failed:
                await FAILING[case](live, dead)
            # The frame of the test, three of ours, the error.
            assert len(shown_lines(failed.value)) <= 16
