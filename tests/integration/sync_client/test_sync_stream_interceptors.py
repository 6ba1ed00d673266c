"""Interceptors of a SyncClient around streams: the same functions as around calls, without a loop."""

import asyncio
import contextvars
from typing import Any

import pytest

from fastrpc import Call, CallError, Proceed, Status, current_call
from tests.support.blocking_feed import Feed, calling, until


class Noting:
    """Notes the beginning and the end of each call."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        assert current_call() is call
        self.events.append(("begin", call.method, call.kind, call.side))
        try:
            return await proceed(call)
        finally:
            assert current_call() is call
            self.events.append(("end", call.status))


def test_proceed_returns_behind_the_last_message() -> None:
    noting, feed = Noting(), Feed()
    with calling(feed, interceptors=[noting]) as client:
        with client.stream(Feed.watch) as messages:
            assert messages.receive() == "first"
            assert noting.events == [("begin", "feed.watch", "server_stream", "client")]
        assert noting.events[1:] == [("end", Status.CANCELLED)]
        until(client, lambda: feed.left == ["watch"])


def test_interceptors_see_every_kind_and_its_outcome() -> None:
    noting = Noting()
    with calling(Feed(), interceptors=[noting, noting]) as client:
        with client.stream(Feed.count, 3) as numbers:
            assert list(numbers) == [0, 1, 2]
        assert client.call(Feed.total, [1, 2]) == 3
        assert list(client.stream(Feed.echo, ["a"])) == ["A"]
        with pytest.raises(CallError):
            client.stream(Feed.broken, 0).receive()
    begun = [event[2] for event in noting.events if event[0] == "begin"]
    assert begun[::2] == begun[1::2] == ["server_stream", "client_stream", "both_ways", "server_stream"]
    ended = [event[1] for event in noting.events if event[0] == "end"]
    assert ended[::2] == ended[1::2] == [Status.OK, Status.OK, Status.OK, Status.NOT_FOUND]


def test_an_interceptor_may_change_the_one_answer() -> None:
    async def double(call: Call, proceed: Proceed) -> Any:
        return 2 * await proceed(call)

    with calling(Feed(), interceptors=[double]) as client:
        assert client.call(Feed.total, [1, 2]) == 6
        assert client.request(Feed.total, [1, 2]).value == 6


def test_an_interceptor_may_refuse_or_answer_a_stream() -> None:
    async def refuse(call: Call, proceed: Proceed) -> Any:
        if call.method == "feed.latest":
            return await proceed(call)
        if call.metadata.get("answer"):
            return 7
        raise CallError(Status.PERMISSION_DENIED, "not you")

    feed = Feed()
    with calling(feed, interceptors=[refuse]) as client:
        with pytest.raises(CallError, match="not you"), client.stream(Feed.count, 3):
            pass
        with pytest.raises(CallError, match="not you"):
            client.call(Feed.total, [1])
        answered = client.with_options(metadata={"answer": "yes"})
        assert answered.call(Feed.total, [1]) == 7
        assert list(answered.stream(Feed.count, 3)) == []
    assert not feed.started


def test_an_interceptor_may_turn_an_error_into_another_one() -> None:
    async def other(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        except CallError:
            raise LookupError("mine") from None

    with calling(Feed(), interceptors=[other]) as client, client.stream(Feed.broken, 2) as numbers:
        assert [numbers.receive(), numbers.receive()] == [0, 1]
        with pytest.raises(LookupError, match="mine"):
            numbers.receive()


def test_messages_are_wrapped_outermost_first_when_sent_and_last_when_received() -> None:
    async def outer(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(lambda message: message + "o")
        call.wrap_received(lambda message: message + "o")
        return await proceed(call)

    async def inner(call: Call, proceed: Proceed) -> Any:
        call.wrap_sent(lambda message: message + "i")
        call.wrap_received(lambda message: message + "i")
        return await proceed(call)

    with calling(Feed(), interceptors=[outer, inner]) as client, client.open(Feed.echo) as echo:
        echo.send("a")
        assert echo.receive() == "AOIio"
        assert list(client.stream(Feed.echo, ["b"])) == ["BOIio"]


@pytest.mark.parametrize("place", ["before", "behind"])
def test_an_interceptor_that_needs_a_loop_is_named(place: str) -> None:
    async def waits(call: Call, proceed: Proceed) -> Any:
        if place == "before":
            await asyncio.sleep(0)
        value = await proceed(call)
        await asyncio.sleep(0)
        return value

    with calling(Feed(), interceptors=[waits]) as client:
        with pytest.raises(RuntimeError, match=r"waits.*needs an event loop"):
            list(client.stream(Feed.count, 3))


def test_context_variables_of_an_interceptor_are_its_own() -> None:
    place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="outside")
    seen: list[str] = []

    async def sets(call: Call, proceed: Proceed) -> Any:
        place.set("inside")
        try:
            return await proceed(call)
        finally:
            seen.append(place.get())

    with calling(Feed(), interceptors=[sets]) as client:
        for _ in client.stream(Feed.count, 3):
            assert place.get() == "outside"
    assert seen == ["inside"]
