"""The promises of api.md about streams, sentence by sentence, for the asynchronous client and the blocking one."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc import (
    CallError,
    ClientConfig,
    DecodeError,
    EncodeError,
    Limits,
    Status,
    StreamEndedError,
)
from fastrpc.errors import ConfigError
from tests.support.called_feed import Feed
from tests.support.either_client import CLIENTS, either, taken
from tests.support.talk import Talk
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("feed")
class WrongFeed:
    """The description of another version of the feed."""

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> str:
        raise NotImplementedError

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[str]:
        yield ""


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def test_metadata_is_unknown_before_it_comes_and_headers_waits_for_it(kind: str) -> None:
    talk = Talk()
    async with either(kind, talk) as client, client.stream(Talk.described) as words:
        assert dict(await words.headers()) == {"first": "1"}
        assert dict(words.metadata) == {"first": "1"}
        with pytest.raises(LookupError):
            words.reply  # noqa: B018
        talk.may_go_on.set()
        assert await taken(words) == ["a"]
        assert words.reply.metadata["last"] == "2"
        assert dict(words.metadata) == {"first": "1"}


async def test_metadata_comes_with_the_first_message(kind: str) -> None:
    talk = Talk()
    async with either(kind, talk) as client:
        words = client.stream(Talk.with_message)
        with pytest.raises(LookupError):
            words.metadata  # noqa: B018
        assert await words.receive() == "a"
        assert dict(words.metadata) == {"first": "1"}
        talk.may_go_on.set()
        await words.aclose()


async def test_headers_of_a_stream_that_failed_raise_its_error_each_time(kind: str) -> None:
    async with either(kind, Feed()) as client:
        numbers = client.stream(Feed.broken, 0)
        for _ in range(2):
            with pytest.raises(CallError, match="there is no more"):
                await numbers.headers()
        with pytest.raises(LookupError):
            numbers.metadata  # noqa: B018


async def test_headers_of_a_stream_without_a_message_are_empty(kind: str) -> None:
    async with either(kind, Feed()) as client, client.stream(Feed.count, 0) as numbers:
        assert dict(await numbers.headers()) == {}
        assert await taken(numbers) == []
        assert numbers.reply.attempts == 1


async def test_the_reply_is_set_after_the_last_message(kind: str) -> None:
    talk = Talk()
    async with either(kind, talk) as client, client.open(Talk.after_the_end) as numbers:
        await numbers.send(1)
        await numbers.send(2)
        await numbers.end()
        assert await numbers.receive() == 1
        with pytest.raises(LookupError, match="has not ended"):
            numbers.reply  # noqa: B018
        assert await numbers.receive() == 2
        with pytest.raises(StreamEndedError):
            await numbers.receive()
        reply = numbers.reply
        assert (reply.value, reply.attempts) == (None, 1)
        assert reply.seconds > 0


async def test_after_the_last_message_each_receive_raises_stream_ended(kind: str) -> None:
    async with either(kind, Feed()) as client, client.stream(Feed.count, 2) as numbers:
        assert await taken(numbers) == [0, 1]
        for _ in range(2):
            with pytest.raises(StreamEndedError):
                await numbers.receive()
            with pytest.raises(StreamEndedError):
                await numbers.receive_many()
            assert [number async for number in numbers] == []


async def test_messages_come_before_the_failure_which_each_receive_then_raises(kind: str) -> None:
    async with either(kind, Feed()) as client, client.stream(Feed.broken, 3) as numbers:
        assert [await numbers.receive() for _ in range(3)] == [0, 1, 2]
        raised = []
        for use in (
            numbers.receive,
            numbers.receive_many,
            numbers.__anext__,
            numbers.headers,
            numbers.receive,
        ):
            if use == numbers.headers:
                assert dict(await use()) == {}
                continue
            with pytest.raises(CallError) as failed:
                await use()
            raised.append(failed.value)
        assert {(error.status, str(error), error.processed) for error in raised} == {
            (Status.NOT_FOUND, "NOT_FOUND: there is no more", "yes")
        }
        assert [error.details for error in raised] == [{"at": 3}] * 4
        # An error that is raised again carries no lines of an earlier receiver.
        assert len({id(error) for error in raised}) == 4
        with pytest.raises(CallError, match="there is no more"):
            numbers.reply  # noqa: B018


async def test_messages_come_before_the_failure_through_receive_many(kind: str) -> None:
    async with either(kind, Feed()) as client, client.stream(Feed.broken, 3) as numbers:
        found: list[int] = []
        with pytest.raises(CallError, match="there is no more"):
            while True:
                found += await numbers.receive_many(limit=2)
        assert found == [0, 1, 2]


async def test_sending_after_the_server_failed_raises_its_error(kind: str) -> None:
    async with either(kind, Talk()) as client, client.open(Talk.refusing) as numbers:
        await numbers.send(1)
        await numbers.send(2)
        assert [await numbers.receive(), await numbers.receive()] == [2, 4]
        with pytest.raises(CallError, match="enough"):
            await numbers.receive()
        for _ in range(2):
            with pytest.raises(CallError, match="enough"):
                await numbers.send(3)
        await numbers.end()


async def test_sending_after_the_server_ended_raises_stream_ended(kind: str) -> None:
    async with either(kind, Feed()) as client, client.open(Feed.first) as numbers:
        await numbers.send(7)
        assert await numbers.receive() == 7
        for _ in range(2):
            with pytest.raises(StreamEndedError, match=r"feed\.first"):
                await numbers.send(8)
        await numbers.end()


async def test_end_is_idempotent_and_sending_after_it_is_a_runtime_error(kind: str) -> None:
    async with either(kind, Talk()) as client, client.open(Talk.total) as numbers:
        await numbers.send(1)
        await numbers.end()
        await numbers.end()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ended"):
                await numbers.send(2)
        assert await numbers.receive() == 1
        with pytest.raises(RuntimeError, match="ended"):
            await numbers.send(2)


async def test_only_streams_with_input_send(kind: str) -> None:
    async with either(kind, Feed()) as client:
        async with client.stream(Feed.watch) as messages:
            with pytest.raises(RuntimeError, match="takes no stream"):
                await messages.send("a")
            with pytest.raises(RuntimeError, match="takes no stream"):
                await messages.end()
        async with client.stream(Feed.echo, ["a"]) as echo:
            with pytest.raises(RuntimeError, match="iterable"):
                await echo.send("b")
            with pytest.raises(RuntimeError, match="iterable"):
                await echo.end()


async def test_the_server_answers_after_the_half_close(kind: str) -> None:
    async with either(kind, Talk()) as client, client.open(Talk.after_the_end) as numbers:
        for number in range(500):
            await numbers.send(number)
        await numbers.end()
        assert await taken(numbers) == list(range(500))


@pytest.mark.parametrize("receive", ["receive", "receive_many", "async for"])
async def test_the_one_answer_comes_once_without_an_end(kind: str, receive: str) -> None:
    async with either(kind, Feed()) as client, client.open(Feed.first) as numbers:
        await numbers.send(7)
        if receive == "async for":
            assert [number async for number in numbers] == [7]
        else:
            assert await getattr(numbers, receive)() in (7, [7])
        for _ in range(2):
            with pytest.raises(StreamEndedError):
                await numbers.receive()
            with pytest.raises(StreamEndedError):
                await numbers.receive_many()
        assert [number async for number in numbers] == []
        assert numbers.reply.value == 7


async def test_receive_many_returns_ready_messages_and_never_an_empty_list(kind: str) -> None:
    talk = Talk()
    async with either(kind, talk) as client, client.stream(Talk.paced) as numbers:
        assert await numbers.receive_many(limit=1) == [0]
        found = [0]
        while len(found) < 3:
            more = await numbers.receive_many()
            assert more
            found += more
        assert found == [0, 1, 2]
        for limit in (0, -1, 1.5, "2", None):
            with pytest.raises(ValueError, match="limit"):
                await numbers.receive_many(limit)
        talk.may_go_on.set()
        with pytest.raises(StreamEndedError):
            await numbers.receive_many()


async def test_one_receiver_at_a_time(kind: str) -> None:
    talk = Talk()
    async with either(kind, talk) as client, client.stream(Talk.silent) as numbers:
        waiting = asyncio.ensure_future(numbers.receive())
        while not talk.started or (kind == "sync" and not numbers.stream._is_waited_for):
            await asyncio.sleep(0)
        for second in (numbers.receive, numbers.receive_many, numbers.__anext__):
            with pytest.raises(RuntimeError, match="one receiver at a time"):
                await second()
        talk.may_go_on.set()
        assert await waiting == 1


async def test_one_sender_at_a_time(kind: str) -> None:
    talk = Talk()
    async with either(kind, talk) as client, client.open(Talk.unread) as blocks:
        sent = 0

        async def fill() -> None:
            nonlocal sent
            while True:
                await blocks.send(bytes(30_000))
                sent += 1

        filling = asyncio.ensure_future(fill())
        last = -1
        while sent < 2 or sent != last:
            last = sent
            await asyncio.sleep(0.02)
        with pytest.raises(RuntimeError, match="one sender at a time"):
            await blocks.send(bytes(30_000))
        blocks.cancel()
        with pytest.raises(CallError, match="cancelled"):
            await filling


async def test_a_message_that_cannot_be_encoded_leaves_the_stream_open(kind: str) -> None:
    config = ClientConfig(limits=Limits(message_bytes=100_000))
    async with either(kind, Talk(), config=config) as client, client.open(Talk.total) as numbers:
        with pytest.raises(EncodeError) as refused:
            await numbers.send(object())
        assert (refused.value.processed, refused.value.retryable) == ("no", False)
        await numbers.send(1)
        with pytest.raises(EncodeError):
            await numbers.send(bytes(100_001))
        await numbers.send(2)
        await numbers.end()
        assert await numbers.receive() == 3


async def test_a_message_of_the_wrong_type_is_refused_by_the_server(kind: str) -> None:
    async with either(kind, Talk()) as client:
        with pytest.raises(CallError, match="int") as refused:
            await client.call(Talk.total, [1, "two"])
        assert refused.value.status is Status.INVALID_ARGUMENT


async def test_an_answer_that_does_not_fit_is_raised_each_time(kind: str) -> None:
    async with either(kind, Feed()) as client:
        async with client.open(WrongFeed.total) as numbers:
            await numbers.send(1)
            await numbers.end()
            for _ in range(3):
                with pytest.raises(DecodeError) as refused:
                    await numbers.receive()
                assert refused.value.processed == "yes"
            with pytest.raises(DecodeError):
                await numbers.receive_many()
            with pytest.raises(DecodeError):
                await anext(numbers)
            with pytest.raises(DecodeError):
                numbers.reply  # noqa: B018
        async with client.stream(WrongFeed.count, 5) as words:
            for use in (words.receive, words.receive_many, words.__anext__, words.receive):
                with pytest.raises(DecodeError, match=r"feed\.count"):
                    await use()
            with pytest.raises(DecodeError):
                words.reply  # noqa: B018


async def test_cancel_ends_whoever_waits_and_every_later_use(kind: str) -> None:
    talk = Talk()
    async with either(kind, talk) as client:
        numbers = client.stream(Talk.silent)
        waiting = asyncio.ensure_future(numbers.receive())
        while not talk.started:
            await asyncio.sleep(0)
        numbers.cancel()
        numbers.cancel()
        for use in (
            lambda: waiting,
            numbers.receive,
            numbers.receive_many,
            numbers.__anext__,
            numbers.headers,
        ):
            with pytest.raises(CallError, match=r"talk\.silent: the stream was cancelled here") as cancelled:
                await use()
            assert cancelled.value.status is Status.CANCELLED
        with pytest.raises(CallError, match="cancelled"):
            numbers.reply  # noqa: B018
        await talk.ended.wait()


async def test_messages_dropped_by_cancel_are_no_clean_end(kind: str) -> None:
    async with either(kind, Feed()) as client:
        numbers = client.stream(Feed.count, 5)
        assert await numbers.receive() == 0
        while client.stats()["live"]["calls"]:
            # The server ended it long ago: its messages wait here.
            await asyncio.sleep(0)
        assert numbers.waiting == 4
        numbers.cancel()
        for use in (numbers.receive, numbers.receive_many, numbers.__anext__):
            with pytest.raises(CallError) as cancelled:
                await use()
            assert cancelled.value.status is Status.CANCELLED
        with pytest.raises(CallError):
            numbers.reply  # noqa: B018


async def test_cancel_after_the_last_message_changes_nothing(kind: str) -> None:
    async with either(kind, Feed()) as client:
        numbers = client.stream(Feed.count, 2)
        assert await taken(numbers) == [0, 1]
        numbers.cancel()
        await numbers.aclose()
        with pytest.raises(StreamEndedError):
            await numbers.receive()
        assert numbers.reply.attempts == 1
        assert client.stats()["totals"]["failed"] == {}


@pytest.mark.parametrize("name", ["close", "aclose"])
async def test_closing_cancels_the_handler_as_leaving_does(kind: str, name: str) -> None:
    feed = Feed()
    async with either(kind, feed) as client:
        messages = client.stream(Feed.watch)
        assert await messages.receive() == "first"
        if kind == "async":
            await getattr(messages, name)()
        else:
            await asyncio.to_thread(getattr(messages.stream, name))
        await eventually(lambda: "watch" in feed.left)


async def test_a_stream_that_is_over_is_not_entered_again(kind: str) -> None:
    async with either(kind, Feed()) as client:
        left = client.stream(Feed.watch)
        async with left:
            assert await left.receive() == "first"
        ended = client.stream(Feed.count, 1)
        assert await taken(ended) == [0]
        cancelled = client.stream(Feed.count, 1)
        cancelled.cancel()
        refused = client.stream("feed.nothing")
        with pytest.raises(CallError):
            await refused.receive()
        for stream in (left, ended, cancelled, refused):
            with pytest.raises(RuntimeError, match="over: make another one"):
                async with stream:
                    pass


async def test_a_stream_that_was_begun_by_hand_is_entered(kind: str) -> None:
    async with either(kind, Feed()) as client:
        numbers = client.stream(Feed.count, 3)
        assert await numbers.receive() == 0
        async with numbers:
            assert await taken(numbers) == [1, 2]


async def test_streams_that_end_in_any_way_log_nothing(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with either(kind, Feed()) as client:
        async with client.stream(Feed.count, 3) as numbers:
            assert await taken(numbers) == [0, 1, 2]
        async with client.stream(Feed.watch) as messages:
            await messages.receive()
        with pytest.raises(CallError):
            await client.stream(Feed.broken, 0).receive()
        assert await client.call(Feed.total, [1, 2]) == 3
    assert [record for record in caplog.records if record.name != "fastrpc.access"] == []


async def test_failbackup_is_refused_where_there_is_no_loop() -> None:
    with pytest.raises(ConfigError, match="SyncClient"):
        fastrpc.SyncClient(["tcp://127.0.0.1:9", "tcp://127.0.0.1:10"], fail_mode="failbackup")
