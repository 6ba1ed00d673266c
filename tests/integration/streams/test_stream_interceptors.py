"""Interceptors around streams, by either client: the same shape as around calls."""

import asyncio
from typing import Any

import pytest

from fastrpc import Call, CallError, Proceed, Status, current_call
from tests.support.called_feed import Feed, calling
from tests.support.either_client import CLIENTS, either

pytestmark = pytest.mark.one_loop

each = pytest.mark.parametrize("kind", CLIENTS)


class Noting:
    """Notes the beginning and the end of each call."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.events: list[Any] = []

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        assert current_call() is call
        self.calls.append(call)
        self.events.append(("begin", call.method, call.kind, call.side))
        try:
            return await proceed(call)
        finally:
            assert current_call() is call
            self.events.append(("end", call.status))


@each
async def test_proceed_returns_after_the_last_message(kind: str) -> None:
    noting = Noting()
    async with either(kind, Feed(), interceptors=[noting]) as client, client.stream(Feed.watch) as messages:
        assert await messages.receive() == "first"
        assert noting.events == [("begin", "feed.watch", "server_stream", "client")]
    assert noting.events[1:] == [("end", Status.CANCELLED)]


@each
async def test_interceptors_see_every_kind_and_its_outcome(kind: str) -> None:
    noting = Noting()
    async with either(kind, Feed(), interceptors=[noting, noting]) as client:
        async with client.stream(Feed.count, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]
        assert await client.call(Feed.total, [1, 2]) == 3
        async with client.stream(Feed.echo, ["a"]) as echo:
            assert [text async for text in echo] == ["A"]
        with pytest.raises(CallError):
            await client.stream(Feed.broken, 0).receive()
    begun = [event[2] for event in noting.events if event[0] == "begin"]
    assert begun[::2] == begun[1::2] == ["server_stream", "client_stream", "both_ways", "server_stream"]
    ended = [event[1] for event in noting.events if event[0] == "end"]
    assert ended[::2] == ended[1::2] == [Status.OK, Status.OK, Status.OK, Status.NOT_FOUND]
    assert noting.calls[0].arguments == (3,)


@each
async def test_an_interceptor_may_change_the_one_answer(kind: str) -> None:
    async def double(call: Call, proceed: Proceed) -> Any:
        return 2 * await proceed(call)

    async with either(kind, Feed(), interceptors=[double]) as client:
        assert await client.call(Feed.total, [1, 2]) == 6
        assert (await client.request(Feed.total, [1, 2])).value == 6


@each
async def test_an_interceptor_may_refuse_a_stream(kind: str) -> None:
    async def refuse(call: Call, proceed: Proceed) -> Any:
        raise CallError(Status.PERMISSION_DENIED, "not you")

    feed = Feed()
    async with either(kind, feed, interceptors=[refuse]) as client:
        for use in (client.stream(Feed.count, 3).receive(), client.call(Feed.total, [1])):
            with pytest.raises(CallError, match="not you"):
                await use
    assert not feed.started


@each
async def test_an_interceptor_may_answer_in_place_of_the_server(kind: str) -> None:
    async def answer(call: Call, proceed: Proceed) -> Any:
        return 7

    feed = Feed()
    async with either(kind, feed, interceptors=[answer]) as client:
        assert await client.call(Feed.total, [1]) == 7
        assert [number async for number in client.stream(Feed.count, 3)] == []
    assert not feed.started


@each
async def test_an_interceptor_may_turn_an_error_into_another_one(kind: str) -> None:
    async def other(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except CallError:
            raise LookupError("mine") from None

    async with either(kind, Feed(), interceptors=[other]) as client, client.stream(Feed.broken, 2) as numbers:
        assert [await numbers.receive(), await numbers.receive()] == [0, 1]
        with pytest.raises(LookupError, match="mine"):
            await numbers.receive()


@each
async def test_messages_are_wrapped_outermost_first_when_sent_and_last_when_received(kind: str) -> None:
    async def outer(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(lambda message: message + "o")
        call.wrap_received(lambda message: message + "o")
        return await proceed(call)

    async def inner(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(lambda message: message + "i")
        call.wrap_received(lambda message: message + "i")
        return await proceed(call)

    async with either(kind, Feed(), interceptors=[outer, inner]) as client, client.open(Feed.echo) as echo:
        await echo.send("a")
        assert await echo.receive() == "AOIio"
        async with client.stream(Feed.echo, ["b"]) as others:
            assert [text async for text in others] == ["BOIio"]


@each
async def test_an_exception_of_a_wrapping_function_ends_the_stream(kind: str) -> None:
    def fail(message: Any) -> Any:
        raise KeyError("mine")

    async def receiving(call: Call, proceed: Proceed) -> Any:
        call.wrap_received(fail)
        return await proceed(call)

    async def sending(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(fail)
        return await proceed(call)

    feed = Feed()
    async with either(kind, feed, interceptors=[receiving]) as client, client.open(Feed.echo) as echo:
        await echo.send("a")
        with pytest.raises(KeyError):
            await echo.receive()
        async with asyncio.timeout(10):
            await feed.has_left.wait()
    async with either(kind, Feed(), interceptors=[sending]) as client, client.open(Feed.echo) as echo:
        with pytest.raises(KeyError):
            await echo.send("a")
        with pytest.raises(KeyError):
            await echo.receive()


@each
async def test_messages_are_wrapped_before_proceed_only(kind: str) -> None:
    refused: list[BaseException] = []

    async def late(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            try:
                call.wrap_sent(str)
            except RuntimeError as error:
                refused.append(error)

    async with either(kind, Feed(), interceptors=[late]) as client:
        assert [number async for number in client.stream(Feed.count, 1)] == [0]
    assert refused


@each
async def test_a_unary_call_has_no_messages_to_wrap(kind: str) -> None:
    async def wrap(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(str)
        return await proceed(call)

    async with either(kind, Feed(), interceptors=[wrap]) as client:
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


@each
async def test_a_stream_is_proceeded_once(kind: str) -> None:
    async def twice(call: Call, proceed: Proceed) -> Any:
        await proceed(call)
        return await proceed(call)

    async with either(kind, Feed(), interceptors=[twice]) as client:
        with pytest.raises(RuntimeError, match="once"):
            [number async for number in client.stream(Feed.count, 1)]
