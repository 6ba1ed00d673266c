"""Interceptors of the client around streams: the same shape as around calls."""

import asyncio
from typing import Any

import pytest

from fastrpc import Call, CallError, Proceed, Status
from tests.support.called_feed import Feed, calling

pytestmark = pytest.mark.one_loop


class Noting:
    """Notes the beginning and the end of each call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.events: list[Any] = []

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        self.calls.append(call)
        self.events.append(("begin", call.method, call.kind, call.side))
        try:
            return await proceed(call)
        finally:
            self.events.append(("end", call.status))


async def test_proceed_returns_behind_the_last_message() -> None:
    noting = Noting()
    async with calling(Feed(), interceptors=[noting]) as client, client.stream(Feed.watch) as messages:
        assert await messages.receive() == "first"
        assert noting.events == [("begin", "feed.watch", "server_stream", "client")]
    assert noting.events[1:] == [("end", Status.CANCELLED)]


async def test_interceptors_see_every_kind_and_its_outcome() -> None:
    noting = Noting()
    async with calling(Feed(), interceptors=[noting]) as client:
        async with client.stream(Feed.count, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]
        assert await client.call(Feed.total, [1, 2]) == 3
        async with client.stream(Feed.echo, ["a"]) as echo:
            assert [text async for text in echo] == ["A"]
        with pytest.raises(CallError):
            await client.stream(Feed.broken, 0).receive()
    assert [event[2] for event in noting.events if event[0] == "begin"] == [
        "server_stream",
        "client_stream",
        "both_ways",
        "server_stream",
    ]
    assert [event[1] for event in noting.events if event[0] == "end"] == [
        Status.OK,
        Status.OK,
        Status.OK,
        Status.NOT_FOUND,
    ]
    assert noting.calls[0].arguments == (3,)


async def test_an_interceptor_may_change_the_one_answer() -> None:
    async def double(call: Call, proceed: Proceed) -> Any:
        return 2 * await proceed(call)

    async with calling(Feed(), interceptors=[double]) as client:
        assert await client.call(Feed.total, [1, 2]) == 6
        assert (await client.request(Feed.total, [1, 2])).value == 6


async def test_an_interceptor_may_refuse_a_stream() -> None:
    async def refuse(call: Call, proceed: Proceed) -> Any:
        raise CallError(Status.PERMISSION_DENIED, "not you")

    feed = Feed()
    async with calling(feed, interceptors=[refuse]) as client:
        for use in (client.stream(Feed.count, 3).receive(), client.call(Feed.total, [1])):
            with pytest.raises(CallError, match="not you"):
                await use
    assert not feed.started


async def test_an_interceptor_may_answer_in_place_of_the_server() -> None:
    async def answer(call: Call, proceed: Proceed) -> Any:
        return 7

    feed = Feed()
    async with calling(feed, interceptors=[answer]) as client:
        assert await client.call(Feed.total, [1]) == 7
        assert [number async for number in client.stream(Feed.count, 3)] == []
    assert not feed.started


async def test_an_interceptor_may_turn_an_error_into_another_one() -> None:
    async def other(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except CallError:
            raise LookupError("mine") from None

    async with calling(Feed(), interceptors=[other]) as client, client.stream(Feed.broken, 2) as numbers:
        assert [await numbers.receive(), await numbers.receive()] == [0, 1]
        with pytest.raises(LookupError, match="mine"):
            await numbers.receive()


async def test_messages_are_wrapped_outermost_first_when_sent_and_last_when_received() -> None:
    async def outer(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(lambda message: message + "o")
        call.wrap_received(lambda message: message + "o")
        return await proceed(call)

    async def inner(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(lambda message: message + "i")
        call.wrap_received(lambda message: message + "i")
        return await proceed(call)

    async with calling(Feed(), interceptors=[outer, inner]) as client, client.open(Feed.echo) as echo:
        await echo.send("a")
        assert await echo.receive() == "AOIio"


async def test_an_exception_of_a_wrapping_function_ends_the_stream() -> None:
    def fail(message: Any) -> Any:
        raise KeyError("mine")

    async def receiving(call: Call, proceed: Proceed) -> Any:
        call.wrap_received(fail)
        return await proceed(call)

    async def sending(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(fail)
        return await proceed(call)

    feed = Feed()
    async with calling(feed, interceptors=[receiving]) as client, client.open(Feed.echo) as echo:
        await echo.send("a")
        with pytest.raises(KeyError):
            await echo.receive()
        async with asyncio.timeout(10):
            await feed.has_left.wait()
    async with calling(Feed(), interceptors=[sending]) as client, client.open(Feed.echo) as echo:
        with pytest.raises(KeyError):
            await echo.send("a")
        with pytest.raises(KeyError):
            await echo.receive()


async def test_messages_are_wrapped_before_proceed_only() -> None:
    refused: list[BaseException] = []

    async def late(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            try:
                call.wrap_sent(str)
            except RuntimeError as error:
                refused.append(error)

    async with calling(Feed(), interceptors=[late]) as client:
        assert [number async for number in client.stream(Feed.count, 1)] == [0]
    assert refused


async def test_a_unary_call_has_no_messages_to_wrap() -> None:
    async def wrap(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(str)
        return await proceed(call)

    async with calling(Feed(), interceptors=[wrap]) as client:
        with pytest.raises(RuntimeError, match="no messages to wrap"):
            await client.call(Feed.latest)


async def test_leaving_a_stream_ends_its_interceptors() -> None:
    ended = []

    async def slow(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            await asyncio.sleep(0)
            ended.append(call.status)

    feed = Feed()
    async with calling(feed, interceptors=[slow]) as client:
        async with client.stream(Feed.watch) as messages:
            assert await messages.receive() == "first"
        assert ended == [Status.CANCELLED]
        async with asyncio.timeout(10):
            await feed.has_left.wait()


async def test_a_stream_is_proceeded_once() -> None:
    async def twice(call: Call, proceed: Proceed) -> Any:
        await proceed(call)
        return await proceed(call)

    async with calling(Feed(), interceptors=[twice]) as client:
        with pytest.raises(RuntimeError, match="once"):
            [number async for number in client.stream(Feed.count, 1)]
