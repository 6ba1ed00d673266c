"""Interceptors get the same outcome of a stream as the program, on both clients."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastrpc import Call, CallError, DeadlineExceededError, Proceed, Status, StreamEndedError
from tests.support.called_feed import Feed
from tests.support.either_client import CLIENTS, either, taken

pytestmark = pytest.mark.one_loop


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


class Watching:
    """Notes the result of `proceed`, with functions that change messages."""

    def __init__(
        self, sent: Callable[[Any], Any] | None = None, received: Callable[[Any], Any] | None = None
    ) -> None:
        self.sent = sent
        self.received = received
        self.told: list[Any] = []
        self.errors: list[Any] = []

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        if call.kind != "unary":
            if self.sent is not None:
                call.wrap_sent(self.sent)
            if self.received is not None:
                call.wrap_received(self.received)
        try:
            value = await proceed(call)
        except BaseException as error:
            self.told.append((type(error).__name__, call.status))
            self.errors.append((error, call.error))
            raise
        self.told.append((value, call.status))
        return value


def refuse(message: Any) -> Any:
    raise ValueError("not this one")


def refuse_last(message: Any) -> Any:
    if message == 2:
        raise ValueError("not the last one")
    return message


async def settled(client: Any) -> None:
    async with asyncio.timeout(10):
        while client.stats()["live"]["calls"]:
            await asyncio.sleep(0)


async def test_a_function_that_fails_on_a_message_sent_by_hand(kind: str) -> None:
    watching = Watching(sent=refuse)
    async with either(kind, Feed(), interceptors=[watching]) as client:
        with pytest.raises(ValueError, match="not this one"):
            async with client.open(Feed.total) as numbers:
                await numbers.send(1)
        for _ in range(2):
            with pytest.raises(ValueError, match="not this one"):
                await numbers.receive()
        with pytest.raises(ValueError, match="not this one"):
            numbers.reply  # noqa: B018
    assert watching.told == [("ValueError", Status.UNKNOWN)]


async def test_a_function_that_fails_on_a_message_of_an_iterable(kind: str) -> None:
    watching = Watching(sent=refuse)
    async with either(kind, Feed(), interceptors=[watching]) as client:
        with pytest.raises(ValueError, match="not this one"):
            await client.call(Feed.total, [1, 2])
        with pytest.raises(ValueError, match="not this one"):
            await taken(client.stream(Feed.echo, ["a"]))
    assert watching.told == [("ValueError", Status.UNKNOWN)] * 2


async def test_a_function_that_fails_on_the_last_message_after_the_end(kind: str) -> None:
    watching = Watching(received=refuse_last)
    async with either(kind, Feed(), interceptors=[watching]) as client:
        async with client.stream(Feed.count, 3) as numbers:
            assert await numbers.receive() == 0
            await settled(client)
            assert watching.told == []
            assert await numbers.receive() == 1
            for _ in range(2):
                with pytest.raises(ValueError, match="not the last one"):
                    await numbers.receive()
            with pytest.raises(ValueError, match="not the last one"):
                numbers.reply  # noqa: B018
    assert watching.told == [("ValueError", Status.UNKNOWN)]


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, StreamEndedError])
async def test_a_function_that_raises_an_end_makes_no_clean_one(kind: str, error: Any) -> None:
    def stop(message: Any) -> Any:
        raise error("mine")

    watching = Watching(received=stop)
    async with either(kind, Feed(), interceptors=[watching]) as client:
        async with client.stream(Feed.count, 3) as numbers:
            with pytest.raises((RuntimeError, StreamEndedError)) as raised:
                [number async for number in numbers]
    name = "StreamEndedError" if error is StreamEndedError else "RuntimeError"
    assert type(raised.value).__name__ == name
    assert [told[0] for told in watching.told] == [name]


async def test_messages_that_nobody_took_are_reported_as_cancelled(kind: str) -> None:
    watching = Watching()
    async with either(kind, Feed(), interceptors=[watching]) as client:
        async with client.stream(Feed.count, 3) as numbers:
            assert await numbers.receive() == 0
            await settled(client)
            assert watching.told == []
        with pytest.raises(CallError) as cancelled:
            await numbers.receive()
        assert cancelled.value.status is Status.CANCELLED
    assert watching.told == [("CancelledError", Status.CANCELLED)]


async def test_leaving_after_the_last_message_is_reported_as_a_clean_end(kind: str) -> None:
    watching = Watching()
    async with either(kind, Feed(), interceptors=[watching]) as client:
        async with client.stream(Feed.count, 3) as numbers:
            assert [await numbers.receive() for _ in range(3)] == [0, 1, 2]
            await settled(client)
        with pytest.raises(StreamEndedError):
            await numbers.receive()
        assert numbers.reply.attempts == 1
    assert watching.told == [(None, Status.OK)]


async def test_a_stream_waits_for_work_of_interceptors_after_the_end(kind: str) -> None:
    done = []

    async def audit(call: Call, proceed: Proceed) -> Any:
        value = await proceed(call)
        await call.sleep(0.05)  # type: ignore[attr-defined]
        done.append(call.status)
        return value

    async with either(kind, Feed(), interceptors=[audit]) as client:
        async with client.stream(Feed.count, 2) as numbers:
            assert [await numbers.receive(), await numbers.receive()] == [0, 1]
            await settled(client)
        assert done == [Status.OK]
        assert numbers.reply.attempts == 1


async def test_a_failure_of_the_server_is_reported_after_its_messages(kind: str) -> None:
    watching = Watching()
    async with either(kind, Feed(), interceptors=[watching]) as client:
        async with client.stream(Feed.broken, 2) as numbers:
            assert await numbers.receive() == 0
            await settled(client)
            assert watching.told == []
            assert await numbers.receive() == 1
            with pytest.raises(CallError, match="there is no more"):
                await numbers.receive()
    assert watching.told == [("CallError", Status.NOT_FOUND)]


async def test_a_deadline_is_reported(kind: str) -> None:
    watching = Watching()
    async with either(kind, Feed(), interceptors=[watching]) as client:
        with pytest.raises(DeadlineExceededError):
            await client.with_options(timeout=0.1).stream(Feed.silent).receive()
    assert watching.told == [("DeadlineExceededError", Status.DEADLINE_EXCEEDED)]


async def test_an_interceptor_that_cancels_ends_the_stream(kind: str) -> None:
    async def cancel(call: Call, proceed: Proceed) -> Any:
        await proceed(call)
        raise asyncio.CancelledError("mine")

    async with either(kind, Feed(), interceptors=[cancel]) as client, asyncio.timeout(10):
        numbers = client.stream(Feed.count, 1)
        assert await numbers.receive() == 0
        with pytest.raises(asyncio.CancelledError, match="mine"):
            await numbers.receive()
