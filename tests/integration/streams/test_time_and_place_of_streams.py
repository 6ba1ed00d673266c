"""Time limits of streams, wrong verbs and wrong places, of the asynchronous client and of the blocking one."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, ClientConfig, DeadlineExceededError, Status, Timeouts
from tests.support.called_feed import Feed
from tests.support.either_client import CLIENTS, either, nowhere, taken
from tests.support.talk import Talk

pytestmark = pytest.mark.one_loop


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def test_the_default_timeout_of_calls_does_not_apply_to_streams(kind: str) -> None:
    talk = Talk()
    config = ClientConfig(timeouts=Timeouts(call=0.01))
    async with either(kind, talk, config=config) as client, client.stream(Talk.silent) as numbers:
        waiting = asyncio.ensure_future(numbers.receive())
        await asyncio.sleep(0.1)
        talk.may_go_on.set()
        assert await waiting == 1


@pytest.mark.parametrize("limit", ["view", "method"])
async def test_a_deadline_holds_for_the_whole_stream(kind: str, limit: str) -> None:
    talk = Talk()
    async with either(kind, talk) as client:
        view = client.with_options(timeout=0.2) if limit == "view" else client
        numbers = view.stream(Talk.silent if limit == "view" else Talk.short)
        for _ in range(2):
            with pytest.raises(DeadlineExceededError) as late:
                await numbers.receive()
            assert late.value.processed == "unknown"
            assert not late.value.retryable
            assert "timeout=" in str(late.value.hint)
        with pytest.raises(DeadlineExceededError):
            numbers.reply  # noqa: B018


async def test_a_receiver_that_waits_too_long_is_told_of_messages(kind: str) -> None:
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.5))
    async with either(kind, Talk(), config=config) as client:
        numbers = client.stream(Talk.paced)
        assert await numbers.receive() == 0
        await asyncio.sleep(0.6)  # Time in the program's own code is no wait.
        assert [await numbers.receive(), await numbers.receive()] == [1, 2]
        with pytest.raises(DeadlineExceededError, match=r"talk\.paced: no message within 0\.5 s") as late:
            await numbers.receive()
        assert "the server send a message" in str(late.value.hint)


async def test_a_sender_that_waits_too_long_is_told_of_room(kind: str) -> None:
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.1))
    async with either(kind, Talk(), config=config) as client:
        blocks = client.open(Talk.unread)
        with pytest.raises(
            DeadlineExceededError, match=r"talk\.unread: nothing could be sent for 0\.1 s"
        ) as late:
            while True:
                await blocks.send(bytes(30_000))
        assert "from reading" in str(late.value.hint)


async def slowly() -> AsyncIterator[int]:
    for number in range(4):
        yield number
        await asyncio.sleep(0.4)


def slowly_in_a_thread() -> Iterator[int]:
    for number in range(4):
        yield number
        time.sleep(0.4)


async def test_time_in_an_iterable_that_is_sent_is_no_wait(kind: str) -> None:
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.8))
    numbers = slowly if kind == "async" else slowly_in_a_thread
    async with either(kind, Talk(), config=config) as client:
        assert await client.call(Talk.total, numbers()) == 6
        assert await taken(client.stream(Talk.after_the_end, numbers())) == [0, 1, 2, 3]


async def test_one_answer_is_due_once_all_is_sent(kind: str) -> None:
    talk = Talk()
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.8))
    async with either(kind, talk, config=config) as client:
        numbers = client.open(Talk.total)
        await numbers.send(1)
        answer = asyncio.ensure_future(numbers.receive())
        for number in (2, 3):
            await asyncio.sleep(0.6)
            await numbers.send(number)
        await numbers.end()
        assert await answer == 6


async def test_a_wait_for_a_message_begins_anew_with_each_one_sent(kind: str) -> None:
    config = ClientConfig(timeouts=Timeouts(stream_idle=1.1))
    async with either(kind, Talk(), config=config) as client:
        numbers = client.open(Talk.after_the_end)
        await numbers.send(1)
        first = asyncio.ensure_future(numbers.receive())
        for number in (2, 3, 4):
            await asyncio.sleep(0.5)
            await numbers.send(number)
        await numbers.end()
        assert await first == 1
        assert await taken(numbers) == [2, 3, 4]
        silent = client.open(Talk.after_the_end)
        await silent.send(1)
        with pytest.raises(DeadlineExceededError, match=r"talk\.after_the_end: no message within 1\.1 s"):
            await silent.receive()


async def test_a_server_that_ignores_an_iterable_is_detected(kind: str) -> None:
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.3))
    async with either(kind, Talk(), config=config) as client:
        with pytest.raises(DeadlineExceededError, match=r"stream_idle"):
            await client.call(Talk.unread, (bytes(30_000) for _ in range(10_000)))
        with pytest.raises(DeadlineExceededError, match=r"talk\.unread: no message within 0\.3 s"):
            await client.call(Talk.unread, [b""])


async def test_input_is_attempted_once(kind: str) -> None:
    feed = Feed()
    async with either(kind, feed) as client:
        with pytest.raises(CallError):
            await client.with_options(idempotent=True).call(Feed.total, [1, None])
        assert feed.started["total"] == 1


@pytest.mark.parametrize("args", [(), (1, 2), ("x",)])
async def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent(kind: str, args: Any) -> None:
    feed = Feed()
    expected: Any = (CallError, TypeError)
    async with either(kind, feed) as client:
        if args != ("x",):
            expected = TypeError
        with pytest.raises(expected):
            async with client.stream(Feed.count, *args) as numbers:
                await numbers.receive()
    assert feed.started["count"] == 0


@pytest.mark.parametrize(
    ("use", "verb"),
    [
        (lambda client: client.call(Feed.count, 3), "client.stream"),
        (lambda client: client.request(Feed.count, 3), "client.stream"),
        (lambda client: client.call(Feed.echo, ["a"]), "client.stream"),
        (lambda client: client.request(Feed.echo, ["a"]), "client.stream"),
        (lambda client: client.stream(Feed.latest), "client.call"),
        (lambda client: client.stream(Feed.total, [1]), "client.call"),
        (lambda client: client.open(Feed.latest), "client.call"),
        (lambda client: client.open(Feed.count, 3), "client.stream"),
    ],
)
async def test_the_wrong_verb_names_the_right_one(kind: str, use: Any, verb: str) -> None:
    async with either(kind, Feed()) as client:
        with pytest.raises(TypeError, match=rf"^feed\.\w+ .*{verb}\("):
            result = use(client)
            await result.begin() if hasattr(result, "begin") else await result


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.call("feed.count", 3),
        lambda client: client.call("feed.latest", iter([1])),
        lambda client: client.stream("feed.latest").receive(),
        lambda client: client.stream("feed.total", iter([1])).receive(),
        lambda client: client.open("feed.latest").receive(),
        lambda client: client.open("feed.count", 3).receive(),
    ],
)
async def test_the_wrong_verb_by_name_is_refused_by_the_server(kind: str, use: Any) -> None:
    async with either(kind, Feed()) as client:
        with pytest.raises(CallError) as refused:
            await use(client)
        assert refused.value.status is Status.INVALID_ARGUMENT
        assert refused.value.processed == "no"


async def test_a_stream_to_nowhere_says_so_each_time(kind: str) -> None:
    async with nowhere(kind) as client:
        for numbers in (client.stream(Feed.count, 3), client.open(Feed.echo)):
            with pytest.raises(fastrpc.UnavailableError) as refused:
                await numbers.begin()
            assert refused.value.processed == "no"
            for use in (numbers.receive, numbers.receive_many, numbers.headers, numbers.__anext__):
                with pytest.raises(fastrpc.UnavailableError):
                    await use()
            with pytest.raises(fastrpc.UnavailableError):
                numbers.reply  # noqa: B018
        with pytest.raises(fastrpc.UnavailableError):
            await client.open(Feed.echo).send("a")
        with pytest.raises(fastrpc.UnavailableError):
            await client.call(Feed.total, [1])
        assert client.stats()["live"]["calls"] == 0
