"""Interceptors of a blocking client: the same functions, without a loop, which most of them do not notice.

`tests/integration/interceptors/test_interceptors.py` has the tests that hold for both clients.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Call, CallError, Interceptor, Proceed, Status, SyncClient, UnavailableError
from fastrpc.testing import serving


@fastrpc.service("desk")
class Desk:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def seen(self) -> dict[str, str]:
        return dict(fastrpc.current_call().metadata)

    @fastrpc.method
    async def fail(self) -> None:
        raise CallError(Status.NOT_FOUND, "as asked")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Desk) as address:
        yield address


def with_one(address: str, interceptor: Interceptor) -> SyncClient:
    return SyncClient(address, interceptors=[interceptor])


@pytest.mark.measures
def test_interceptor_may_sleep_and_try_again(address: str) -> None:
    attempts = 0

    async def patient(call: Call, proceed: Proceed) -> Any:
        nonlocal attempts
        while True:
            attempts += 1
            try:
                if attempts < 3:
                    raise UnavailableError("not yet")
                return await proceed(call)
            except UnavailableError:
                await call.sleep(0.02)

    with with_one(address, patient) as client:
        started = time.monotonic()
        assert client.call(Desk.mul, 6, 7) == 42
    assert attempts == 3
    assert time.monotonic() - started >= 0.04


def test_interceptor_may_be_an_object_and_await_functions_of_its_own(address: str) -> None:
    class Doubling:
        async def __call__(self, call: Call, proceed: Proceed) -> Any:
            return await self.double(await proceed(call))

        async def double(self, value: int) -> int:
            return value * 2

    with with_one(address, Doubling()) as client:
        assert client.call(Desk.mul, 6, 7) == 84


async def naps(call: Call, proceed: Proceed) -> Any:
    await asyncio.sleep(0.01)
    return await proceed(call)


async def yields(call: Call, proceed: Proceed) -> Any:
    await asyncio.sleep(0)
    return await proceed(call)


class Promise:
    def __await__(self) -> Iterator[Any]:
        yield self

    def __repr__(self) -> str:
        return "<a promise>"


async def waits(call: Call, proceed: Proceed) -> Any:
    return await Promise()


async def delegates(call: Call, proceed: Proceed) -> Any:
    return await waits(call, proceed)


async def listens(call: Call, proceed: Proceed) -> Any:
    return await asyncio.Event().wait()


async def drains(call: Call, proceed: Proceed) -> Any:
    return await call.draining


async def limits(call: Call, proceed: Proceed) -> Any:
    async with asyncio.timeout(1):
        return await proceed(call)


@pytest.mark.parametrize(
    ("interceptor", "named"),
    [
        (naps, r"^\S+\.naps → asyncio\.tasks\.sleep needs an event loop"),
        (yields, r"^\S+\.yields → asyncio\.tasks\.sleep → \S+ needs an event loop"),
        (waits, r"^\S+\.waits → \S+\.Promise\.__await__ → <a promise> needs an event loop"),
        (delegates, r"^\S+\.delegates → \S+\.waits → .*<a promise> needs an event loop"),
        (listens, r"^\S+\.listens → asyncio\.locks\.Event\.wait needs an event loop"),
        (drains, r"^\S+\.drains → asyncio\.locks\.Event\.wait needs an event loop"),
        (limits, r"^\S+\.limits → asyncio\.timeouts\.\S+ needs an event loop"),
    ],
)
def test_awaiting_anything_else_is_refused_by_name(
    address: str, interceptor: Interceptor, named: str
) -> None:
    with with_one(address, interceptor) as client, pytest.raises(RuntimeError, match=named) as caught:
        client.call(Desk.mul, 6, 7)
    assert "call.sleep()" in str(caught.value)


def test_refused_interceptor_may_clean_up(address: str) -> None:
    ended: list[str] = []

    async def careful(call: Call, proceed: Proceed) -> Any:
        try:
            return await Promise()
        finally:
            ended.append("cleaned")

    with with_one(address, careful) as client, pytest.raises(RuntimeError):
        client.call(Desk.mul, 6, 7)
    assert ended == ["cleaned"]


def test_unexpected_error_of_an_interceptor_is_raised_unchanged(address: str) -> None:
    async def broken(call: Call, proceed: Proceed) -> Any:
        raise RuntimeError("no running engine")

    with with_one(address, broken) as client, pytest.raises(RuntimeError, match=r"^no running engine$"):
        client.call(Desk.mul, 6, 7)
