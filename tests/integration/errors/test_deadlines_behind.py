"""Deadlines of a call that a handler makes, next to the deadline of the call that the handler serves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, DeadlineExceededError, FastRPCError, Interceptor, Proceed
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@fastrpc.service("behind")
class Behind:
    @fastrpc.method
    async def hang(self) -> int:
        await asyncio.Event().wait()
        return 1


@fastrpc.service("front")
class Front:
    def __init__(self, behind: Client) -> None:
        self.behind = behind

    @fastrpc.method
    async def impatient(self) -> int:
        return await self.behind.with_options(timeout=0.01).call(Behind.hang)

    @fastrpc.method
    async def patient(self) -> int:
        return await self.behind.call(Behind.hang)

    @fastrpc.method(timeout=0.05)
    async def capped(self) -> int:
        return await self.behind.call(Behind.hang)


async def plain(call: fastrpc.Call, proceed: Proceed) -> Any:
    return await proceed(call)


@pytest.fixture(params=["bare", "intercepted", "intercepted client", "tcp"])
async def front(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    interceptors: list[Interceptor] = [plain] if request.param == "intercepted" else []
    inner: list[Interceptor] = [plain] if request.param == "intercepted client" else []
    scheme = "tcp" if request.param == "tcp" else "memory"
    async with (
        served(Behind, scheme=scheme) as behind,
        Client(behind, interceptors=inner) as client,
        served(Front(client), scheme=scheme, interceptors=interceptors) as target,
        Client(target) as front,
    ):
        yield front


async def test_the_deadline_of_an_inner_call_is_unavailable_to_the_outer_caller(front: Client) -> None:
    with pytest.raises(CallError) as failed:
        await front.call(Front.impatient)
    assert failed.value.message == "front.impatient: a call it made failed (UNAVAILABLE)"


async def error_in_time(call: Callable[[], Awaitable[Any]], caplog: pytest.LogCaptureFixture) -> FastRPCError:
    """Return the error of a call that ended before the inner server ended its own part.

    Behind a stall of the machine that one counts from before it, and ends its call earlier.
    """
    for _ in range(20):
        caplog.clear()
        with pytest.raises(FastRPCError) as failed:
            await call()
        if "deadline passed" not in caplog.text:
            break
    return failed.value


async def test_the_deadline_of_the_outer_call_stays_a_deadline(
    front: Client, caplog: pytest.LogCaptureFixture
) -> None:
    hasty = front.with_options(timeout=0.05)
    assert isinstance(await error_in_time(lambda: hasty.call(Front.patient), caplog), DeadlineExceededError)


async def test_a_server_tells_the_deadline_of_a_method_to_a_caller_that_waits_longer(
    front: Client, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = front.with_options(timeout=20)
    error = await error_in_time(lambda: waiting.call(Front.capped), caplog)
    assert isinstance(error, DeadlineExceededError)
    assert "front.capped" in str(error)
