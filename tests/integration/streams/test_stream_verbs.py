"""`stream`, `open` and streamed input: the verb for each kind of method, and its result."""

from collections.abc import AsyncIterator, Iterator
from inspect import isawaitable
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, Reply, Status, Stream
from tests.support.called_feed import Feed, calling
from tests.support.either_client import CLIENTS, either, nowhere, taken

pytestmark = pytest.mark.one_loop

NOWHERE = "tcp://127.0.0.1:9"


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def made(use: Any, client: Any) -> Any:
    """Use a client; its verbs may return an awaitable."""
    found = use(client)
    return await found if isawaitable(found) else found


async def later(*values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


async def test_messages_come_in_order_and_the_loop_ends(kind: str) -> None:
    async with either(kind, Feed()) as client, client.stream(Feed.count, 100) as numbers:
        assert [number async for number in numbers] == list(range(100))


async def test_a_stream_may_have_no_message(kind: str) -> None:
    async with either(kind, Feed()) as client, client.stream(Feed.count, 0) as numbers:
        assert [number async for number in numbers] == []


async def test_arguments_are_given_by_position_and_by_name(kind: str) -> None:
    async with either(kind, Feed()) as client:
        async with client.stream(Feed.count, limit=2) as numbers:
            assert [number async for number in numbers] == [0, 1]
        async with client.stream("feed.count", 2) as numbers:
            assert [number async for number in numbers] == [0, 1]


async def test_a_generator_in_a_thread_is_a_stream_too(kind: str) -> None:
    async with either(kind, Feed()) as client, client.stream(Feed.lines, "a\nb") as lines:
        assert [line async for line in lines] == ["a", "b"]


async def test_a_stream_is_iterated_without_a_block(kind: str) -> None:
    async with either(kind, Feed()) as client:
        assert [number async for number in client.stream(Feed.count, 3)] == [0, 1, 2]
        numbers = client.stream(Feed.count, 3)
        assert await numbers.receive() == 0
        assert await numbers.receive_many() in ([1], [1, 2])
        await numbers.aclose()


async def test_a_proxy_streams() -> None:
    async with calling(Feed()) as client:
        feed = client.bind(Feed)
        assert [number async for number in feed.count(3)] == [0, 1, 2]
        assert [text async for text in feed.echo(later("a", "b"))] == ["A", "B"]
        assert await feed.total(later(1, 2)) == 3


@pytest.mark.parametrize("make", [list, tuple, iter, dict.fromkeys])
async def test_call_sends_any_iterable_and_returns_the_answer(kind: str, make: Any) -> None:
    async with either(kind, Feed()) as client:
        assert await client.call(Feed.total, make([1, 2, 3])) == 6
        assert await client.call(Feed.total, range(1, 4)) == 6


async def test_call_sends_an_asynchronous_iterable() -> None:
    async with calling(Feed()) as client:
        assert await client.call(Feed.total, later(1, 2, 3)) == 6
        assert await client.call(Feed.total, numbers=later(1, 2, 3)) == 6
        assert await client.call(Feed.scaled, later(1, 2), 10, offset=5) == 35  # type: ignore[call-overload]
        assert await client.call(Feed.scaled, factor=10, numbers=later(1, 2)) == 30


async def test_call_by_name_sends_an_iterator() -> None:
    async with calling(Feed()) as client:
        assert await client.call("feed.total", later(1, 2, 3)) == 6
        assert await client.call("feed.total", iter([1, 2])) == 3
        assert await client.call("feed.scaled", later(1, 2), 10) == 30

        class Later:
            def __aiter__(self) -> AsyncIterator[int]:
                return later(1, 2, 3)

        assert await client.call("feed.total", Later()) == 6
        with pytest.raises(CallError, match=r"iter\(…\)") as refused:
            await client.call("feed.total", [1, 2])
        assert (refused.value.status, refused.value.processed) == (Status.INVALID_ARGUMENT, "no")
        async with client.stream("feed.echo", later("a")) as echo:
            assert [text async for text in echo] == ["A"]


async def test_streamed_input_goes_with_other_arguments_and_by_name(kind: str) -> None:
    async with either(kind, Feed()) as client:
        assert await client.call(Feed.scaled, [1, 2], 10, offset=5) == 35
        assert await client.call("feed.scaled", iter([1, 2]), 10) == 30
        async with client.stream(Feed.echo, ["a", "b"]) as echo:
            assert await taken(echo) == ["A", "B"]


async def test_request_returns_a_reply_of_streamed_input(kind: str) -> None:
    async with either(kind, Feed()) as client:
        reply = await client.request(Feed.total, [1, 2])
    assert isinstance(reply, Reply)
    assert (reply.value, reply.attempts) == (3, 1)
    assert reply.seconds > 0


async def test_stream_sends_an_iterable_while_answers_are_read() -> None:
    async with calling(Feed()) as client, client.stream(Feed.echo, later("a", "b")) as echo:
        assert [text async for text in echo] == ["A", "B"]


async def test_an_open_stream_goes_both_ways(kind: str) -> None:
    async with either(kind, Feed()) as client, client.open(Feed.echo) as echo:
        for text in ("a", "b", "c"):
            await echo.send(text)
            assert await echo.receive() == text.upper()
        await echo.end()
        with pytest.raises(fastrpc.StreamEndedError):
            await echo.receive()


async def test_an_open_stream_by_name_goes_both_ways(kind: str) -> None:
    async with either(kind, Feed()) as client, client.open("feed.echo") as echo:
        await echo.send("a")
        await echo.end()
        assert [text async for text in echo] == ["A"]


async def test_an_open_client_stream_gets_its_one_answer(kind: str) -> None:
    async with either(kind, Feed()) as client, client.open(Feed.scaled, 10, offset=1) as numbers:
        await numbers.send(1)
        await numbers.send(2)
        await numbers.end()
        assert await numbers.receive() == 31
        with pytest.raises(fastrpc.StreamEndedError):
            await numbers.receive()
        assert numbers.reply.value == 31


async def test_an_early_answer_comes_without_an_end(kind: str) -> None:
    async with either(kind, Feed()) as client, client.open(Feed.first) as numbers:
        await numbers.send(7)
        assert await numbers.receive() == 7


async def test_the_one_answer_is_iterated_and_received_in_a_list(kind: str) -> None:
    async with either(kind, Feed()) as client:
        async with client.open(Feed.first) as numbers:
            await numbers.send(7)
            assert [answer async for answer in numbers] == [7]
        async with client.open(Feed.first) as numbers:
            await numbers.send(7)
            assert await numbers.receive_many() == [7]


@pytest.mark.parametrize(
    ("use", "verb"),
    [
        (lambda client: client.call(Feed.count, 3), "client.stream"),
        (lambda client: client.request(Feed.count, 3), "client.stream"),
        (lambda client: client.notify(Feed.count, 3), "client.stream"),
        (lambda client: client.call_many(Feed.count, [(3,)]), "client.stream"),
        (lambda client: client.call(Feed.echo, ["a"]), "client.stream"),
        (lambda client: client.stream(Feed.latest), "client.call"),
        (lambda client: client.stream(Feed.total, [1]), "client.call"),
        (lambda client: client.open(Feed.latest), "client.call"),
        (lambda client: client.open(Feed.count, 3), "client.stream"),
    ],
)
async def test_the_wrong_verb_is_a_type_error_that_names_the_right_one(
    kind: str, use: Any, verb: str
) -> None:
    async with nowhere(kind) as client:
        with pytest.raises(TypeError, match=rf"^feed\.\w+ .*{verb}\("):
            await made(use, client)


@pytest.mark.parametrize(
    "use",
    [lambda client: client.notify(Feed.total, [1]), lambda client: client.call_many(Feed.total, [([1],)])],
)
async def test_notifications_and_batches_send_no_stream(kind: str, use: Any) -> None:
    async with nowhere(kind) as client:
        with pytest.raises(TypeError, match=r"client\.call\("):
            await use(client)


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.call("feed.count", 3),
        lambda client: client.stream("feed.latest").receive(),
        lambda client: client.open("feed.count", 3).receive(),
        lambda client: client.call("feed.latest", iter([1])),
    ],
)
async def test_the_wrong_verb_by_name_is_refused_by_the_server(kind: str, use: Any) -> None:
    async with either(kind, Feed()) as client:
        with pytest.raises(CallError) as refused:
            await use(client)
    assert refused.value.status is Status.INVALID_ARGUMENT
    assert refused.value.processed == "no"


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "missing 1 required argument: 'numbers'"),
        (([1],), {"numbers": [2]}, "multiple values for argument 'numbers'"),
        (("abc",), {}, "an iterable of messages"),
        ((b"abc",), {}, "an iterable of messages"),
        ((7,), {}, "an iterable of messages"),
        (([1], 2), {}, "takes"),
    ],
)
async def test_a_wrong_stream_argument_is_a_type_error(kind: str, args: Any, kwargs: Any, text: str) -> None:
    feed = Feed()
    async with either(kind, feed) as client:
        with pytest.raises(TypeError, match=text):
            await client.call(Feed.total, *args, **kwargs)
    assert feed.started["total"] == 0


@pytest.mark.parametrize("verb", ["broadcast", "fork"])
@pytest.mark.parametrize("method", [Feed.count, Feed.total, Feed.echo])
async def test_fan_outs_take_no_streams(verb: str, method: Any) -> None:
    async with Client(NOWHERE) as client:
        with pytest.raises(TypeError, match=rf"feed\.{method.__name__} streams"):
            await getattr(client, verb)(method, [1])


async def test_arguments_that_do_not_fit_are_a_type_error_and_nothing_is_sent(kind: str) -> None:
    feed = Feed()
    async with either(kind, feed) as client:
        with pytest.raises(TypeError, match="limit"):
            async with client.stream(Feed.count):
                pass
        with pytest.raises(TypeError):
            await client.stream(Feed.count, 1, 2, 3).receive()
    assert feed.started["count"] == 0


async def test_nothing_is_sent_before_a_stream_is_entered(kind: str) -> None:
    feed = Feed()
    async with either(kind, feed) as client:
        client.stream(Feed.count, 3)
        client.open(Feed.echo)
        assert client.stats()["totals"]["calls"] == 0
    assert not feed.started


async def test_a_stream_is_a_type_of_the_package() -> None:
    async with Client(NOWHERE) as client:
        assert isinstance(client.stream(Feed.count, 3), Stream)
        assert repr(client.stream(Feed.count, 3)) == "<Stream of feed.count, new>"


async def test_options_of_a_view_hold_for_its_streams(kind: str) -> None:
    async with either(kind, Feed()) as client:
        view = client.with_options(codec="json", metadata={"trace": "1"})
        async with view.stream(Feed.count, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]


async def test_a_plain_iterator_may_be_a_generator_that_is_closed(kind: str) -> None:
    closed = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.append(True)

    async with either(kind, Feed()) as client:
        assert await client.call(Feed.first, numbers()) == 0
    assert closed == [True]
