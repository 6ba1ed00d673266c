"""The parts around the messages of a served stream: interceptors, compression, checks, counters, idle limits."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import CallError, Client, Limits, Memory, ServerConfig, Status, Timeouts, current_call
from fastrpc.metrics import collector
from tests.support.feed import Feed
from tests.support.raw_streams import BOTH_WAYS, CLIENT_STREAM, stream_peer
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Cancel, Credit, Data, End

pytestmark = pytest.mark.one_loop

GZIP = 1


class TestInterceptors:
    @pytest.mark.parametrize("method", ["feed.count", "feed.lines", "feed.inline"])
    async def test_proceed_returns_after_the_last_message(self, method: str) -> None:
        seen: list[Any] = []

        async def watch(call: Any, proceed: Any) -> Any:
            seen.append((call.method, call.kind, call.arguments))
            try:
                return await proceed(call)
            finally:
                seen.append((call.status, call.error))

        async with served(Feed, scheme="tcp", interceptors=[watch]) as target, stream_peer(target) as peer:
            call = peer.open(method, 3)
            assert (await peer.end(call)).status == 0
            assert peer.messages(call) == [0, 1, 2]
        assert seen == [(method, "server_stream", (3,)), (Status.OK, None)]

    async def test_proceed_raises_the_error_that_ended_the_stream(self) -> None:
        seen: list[Any] = []

        async def watch(call: Any, proceed: Any) -> Any:
            try:
                return await proceed(call)
            except BaseException as error:
                seen.append((type(error), call.status))
                raise

        feed = Feed()
        async with served(feed, scheme="tcp", interceptors=[watch]) as target, stream_peer(target) as peer:
            assert (await peer.end(peer.open("feed.refuse", 2))).status == Status.NOT_FOUND
            call = peer.open("feed.awaited")
            await peer.next_message(call)
            peer.peer.send(Cancel(call).encode())
            assert (await peer.end(call)).status == Status.CANCELLED
        assert seen == [
            (CallError, Status.NOT_FOUND),
            (asyncio.CancelledError, Status.CANCELLED),
        ]
        assert feed.ends == ["CancelledError"]

    async def test_functions_around_messages_go_from_the_outermost_when_sending(self) -> None:
        def around(mark: str) -> Any:
            async def wrap(call: Any, proceed: Any) -> Any:
                call.wrap_sent(lambda message: f"{message}{mark}")
                return await proceed(call)

            return wrap

        interceptors = [around("a"), around("b")]
        async with (
            served(Feed, scheme="tcp", interceptors=interceptors) as target,
            stream_peer(target) as peer,
        ):
            for method in ("feed.count", "feed.lines"):
                call = peer.open(method, 2)
                assert (await peer.end(call)).status == 0
                assert peer.messages(call) == ["0ab", "1ab"]

    async def test_functions_around_messages_go_from_the_innermost_when_receiving(self) -> None:
        def around(factor: int) -> Any:
            async def wrap(call: Any, proceed: Any) -> Any:
                call.wrap_received(lambda message: message * 10 + factor)
                return await proceed(call)

            return wrap

        async with (
            served(Feed, scheme="tcp", interceptors=[around(1), around(2)]) as target,
            stream_peer(target) as peer,
        ):
            call = peer.open("feed.scale", 1, flags=BOTH_WAYS)
            peer.send(call, 7, end=True)
            assert (await peer.end(call)).status == 0
            assert peer.messages(call) == [721]

    async def test_exception_of_such_a_function_ends_the_stream(self) -> None:
        def refuse(message: int) -> int:
            if message == 2:
                raise CallError(Status.PERMISSION_DENIED, "not this one")
            return message

        async def wrap(call: Any, proceed: Any) -> Any:
            call.wrap_sent(refuse)
            return await proceed(call)

        async with served(Feed, scheme="tcp", interceptors=[wrap]) as target, stream_peer(target) as peer:
            call = peer.open("feed.count", 5)
            assert (await peer.end(call)).status == Status.PERMISSION_DENIED
            assert peer.messages(call) == [0, 1]

    async def test_unary_call_has_no_messages_to_wrap(self) -> None:
        async def wrap(call: Any, proceed: Any) -> Any:
            with pytest.raises(RuntimeError, match="no messages to wrap"):
                call.wrap_sent(str)
            return await proceed(call)

        async with served(Feed, scheme="tcp", interceptors=[wrap]) as target, stream_peer(target) as peer:
            assert (await peer.end(peer.open("feed.unary", 1, flags=0))).status == 0

    async def test_interceptor_refuses_a_stream(self) -> None:
        async def refuse(call: Any, proceed: Any) -> Any:
            raise CallError(Status.PERMISSION_DENIED, "closed")

        async with served(Feed, scheme="tcp", interceptors=[refuse]) as target, stream_peer(target) as peer:
            for method, flags in (
                ("feed.count", 32),
                ("feed.total", CLIENT_STREAM),
                ("feed.scale", BOTH_WAYS),
            ):
                end = await peer.end(peer.open(method, 1, flags=flags))
                assert (end.status, end.outcome) == (Status.PERMISSION_DENIED, 1)

    async def test_interceptor_ends_a_stream_without_a_message(self) -> None:
        async def skip(call: Any, proceed: Any) -> Any:
            return None

        async with served(Feed, scheme="tcp", interceptors=[skip]) as target, stream_peer(target) as peer:
            call = peer.open("feed.count", 3)
            assert (await peer.end(call)).status == 0
            assert peer.messages(call) == []

    async def test_value_cannot_take_the_place_of_a_stream(self) -> None:
        async def answer(call: Any, proceed: Any) -> Any:
            return 5

        async with served(Feed, scheme="tcp", interceptors=[answer]) as target, stream_peer(target) as peer:
            assert (await peer.end(peer.open("feed.count", 3))).status == Status.INTERNAL


class TestCompression:
    async def test_messages_are_compressed_as_the_request_was_where_that_pays(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target, {9: ((GZIP, b"gzip"),)}) as peer:
            payload = gzip.compress(msgspec.msgpack.encode(([10, 50_000, 20],)))
            call = peer.open("feed.sized", payload=payload, compressor=GZIP)
            assert (await peer.end(call)).status == 0
            small, large, last = peer.data(call)
            assert (small.compressor, large.compressor, last.compressor) == (0, GZIP, 0)
            assert len(large.payload) < 1_000
            assert msgspec.msgpack.decode(gzip.decompress(large.payload)) == bytes(50_000)

    async def test_compressed_messages_of_a_client_are_taken(self) -> None:
        feed = Feed()
        feed.go_on.set()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.unread", flags=CLIENT_STREAM)
            packed = gzip.compress(msgspec.msgpack.encode(bytes(50_000)))
            peer.peer.send(Data(call, packed, codec=1, compressor=GZIP).encode())
            peer.send(call, b"abc", end=True)
            assert msgspec.msgpack.decode((await peer.end(call)).payload) == 50_003

    async def test_messages_are_compressed_like_messages_of_the_client(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target, {9: ((GZIP, b"gzip"),)}) as peer:
            call = peer.open("feed.mirror", flags=BOTH_WAYS)
            packed = gzip.compress(msgspec.msgpack.encode("a" * 5_000))
            peer.peer.send(Data(call, packed, codec=1, compressor=GZIP).encode(), End(call).encode())
            await peer.end(call)
            [data] = peer.data(call)
            assert data.compressor == GZIP
            assert msgspec.msgpack.decode(gzip.decompress(data.payload)) == "a" * 5_000

    @pytest.mark.parametrize(
        ("payload", "compressor", "status"),
        [
            (b"no gzip", GZIP, Status.INVALID_ARGUMENT),
            (b"x", 60, Status.UNIMPLEMENTED),
            (gzip.compress(bytes(20_000_000)), GZIP, Status.RESOURCE_EXHAUSTED),
        ],
    )
    async def test_message_that_cannot_be_unpacked_fails_the_call(
        self, payload: bytes, compressor: int, status: Status
    ) -> None:
        feed = Feed()
        feed.go_on.set()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.unread", flags=CLIENT_STREAM)
            peer.peer.send(Data(call, payload, codec=1, compressor=compressor).encode())
            assert (await peer.end(call)).status == status

    async def test_message_in_another_codec_fails_the_call(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.total", flags=CLIENT_STREAM)
            peer.peer.send(Data(call, b"1", codec=2).encode())
            assert (await peer.end(call)).status == Status.INVALID_ARGUMENT

    async def test_json_streams_both_ways(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.scale", payload=b"[3]", codec=2, flags=BOTH_WAYS)
            peer.peer.send(Data(call, b"5", codec=2).encode())
            data = await peer.peer.next(Data)
            assert (data.codec, data.payload) == (2, b"15")


class TestChecks:
    async def test_messages_are_checked_one_by_one(self) -> None:
        config = ServerConfig(check_results=True)
        async with served(Feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            call = peer.open("feed.wrong")
            assert (await peer.end(call)).status == Status.INTERNAL
            assert peer.messages(call) == [1]

    async def test_value_that_cannot_be_encoded_ends_the_stream(self) -> None:
        @fastrpc.service("odd")
        class Odd:
            def __init__(self) -> None:
                self.was_closed = False

            @fastrpc.method
            async def values(self) -> AsyncIterator[Any]:
                try:
                    yield 1
                    yield object()
                finally:
                    self.was_closed = True

        odd = Odd()
        async with served(odd, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("odd.values")
            assert (await peer.end(call)).status == Status.INTERNAL
            assert peer.messages(call) == [1]
            assert odd.was_closed


class TestCounters:
    async def test_stream_counts_as_one_call_and_its_bytes_message_by_message(self) -> None:
        def sample(name: str) -> float:
            samples = [one for family in collector().collect() for one in family.samples]
            return sum(
                one.value
                for one in samples
                if one.name == f"fastrpc_server_{name}" and one.labels.get("method") == "scale"
            )

        names = ("call_seconds_count", "received_bytes_total", "sent_bytes_total", "calls_in_flight")
        before = [sample(name) for name in names]
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.scale", 1, flags=BOTH_WAYS)
            peer.send(call, *range(10), end=True)
            await peer.end(call)
            after = [sample(name) for name in names]
        assert [now - then for now, then in zip(after, before, strict=True)] == [1, 2 + 10, 10, 0]


class TestContext:
    async def test_current_call_is_known_at_every_step(self) -> None:
        seen: list[str] = []

        @fastrpc.service("aware")
        class Aware:
            @fastrpc.method
            async def steps(self) -> AsyncIterator[int]:
                try:
                    for number in range(3):
                        seen.append(current_call().method)
                        yield number
                        await asyncio.sleep(0)
                finally:
                    seen.append(current_call().method)

            @fastrpc.method
            def threaded(self) -> Iterator[int]:
                seen.append(current_call().method)
                yield 1
                seen.append(current_call().method)

        async with served(Aware, scheme="tcp") as target, stream_peer(target) as peer:
            await peer.end(peer.open("aware.steps"))
            assert seen == ["aware.steps"] * 4
            seen.clear()
            await peer.end(peer.open("aware.threaded"))
            assert seen == ["aware.threaded"] * 2

    async def test_long_generator_lets_other_tasks_run(self) -> None:
        @fastrpc.service("busy")
        class Busy:
            turns = 0

            @fastrpc.method
            async def work(self) -> AsyncIterator[int]:
                began = asyncio.get_running_loop().time()
                number = 0
                while self.turns == 0 and asyncio.get_running_loop().time() < began + 20:
                    number += 1
                    if number % 10_000 == 0:
                        yield number

        busy = Busy()
        async with served(busy, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("busy.work")
            await peer.next_message(call)
            busy.turns += 1
            assert (await peer.end(call)).status == 0

    async def test_metadata_of_a_unary_call_cannot_be_sent_ahead(self) -> None:
        @fastrpc.service("single")
        class Single:
            @fastrpc.method
            async def answer(self) -> str:
                with pytest.raises(RuntimeError, match="not a stream"):
                    await current_call().send_metadata()
                return "told"

            @fastrpc.method
            async def twice(self) -> AsyncIterator[str]:
                yield "a"
                with pytest.raises(RuntimeError, match="already"):
                    await current_call().send_metadata()
                yield "told"

        async with served(Single, scheme="tcp") as target, stream_peer(target) as peer:
            end = await peer.end(peer.open("single.answer", flags=0))
            assert msgspec.msgpack.decode(end.payload) == "told"
            call = peer.open("single.twice")
            await peer.end(call)
            assert peer.messages(call) == ["a", "told"]

            async def early(call: Any, proceed: Any) -> Any:
                with pytest.raises(RuntimeError, match="only the called side sends"):
                    await call.send_metadata()
                return await proceed(call)

            async with Client(target, interceptors=[early]) as client:
                assert await client.call(Single.answer) == "told"


class TestLimits:
    @pytest.mark.parametrize(
        ("method", "arguments", "flags"),
        [
            ("feed.total", [], CLIENT_STREAM),
            ("feed.scale", [1], BOTH_WAYS),
            ("feed.endless", [100], 32),
            ("feed.blocks", [100], 32),
        ],
    )
    async def test_stream_that_waits_too_long_for_its_peer_ends(
        self, method: str, arguments: list[Any], flags: int
    ) -> None:
        config = ServerConfig(timeouts=Timeouts(stream_idle=0.05))
        async with served(Feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            call = peer.open(method, *arguments, flags=flags)
            end = await peer.end(call)
            assert end.status == Status.DEADLINE_EXCEEDED
            assert b"Timeouts.stream_idle" in end.message
            await eventually(lambda: not target.server.stats()["live"]["calls"])

    async def test_time_in_the_handler_is_no_wait_of_the_stream(self) -> None:
        feed = Feed()
        config = ServerConfig(timeouts=Timeouts(stream_idle=0.02))
        async with served(feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            call = peer.open("feed.awaited")
            await peer.next_message(call)
            await asyncio.sleep(0.1)
            feed.go_on.set()
            assert (await peer.end(call)).status == 0

    async def test_message_larger_than_the_stream_pool_waits_for_it(self) -> None:
        feed = Feed()
        feed.go_on.set()
        config = ServerConfig(
            limits=Limits(message_bytes=200_000), memory=Memory(stream_pool=100_000, send_hard=2**26)
        )
        async with served(feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            payload = msgspec.msgpack.encode(bytes(190_000))
            calls = [peer.open("feed.unread", flags=CLIENT_STREAM) for _ in range(2)]
            for call in calls:
                first = Data(call, payload[:60_000], total=len(payload), more=True, codec=1)
                peer.peer.send(first.encode())
            for call in calls:
                # The second is granted its credit once the first is taken.
                while not any(isinstance(frame, Credit) and frame.id == call for frame in peer.peer.frames):
                    await peer.peer.next(Credit)
                peer.peer.send(Data(call, payload[60_000:], cont=True).encode(), End(call).encode())
                assert msgspec.msgpack.decode((await peer.end(call)).payload) == 190_000


async def test_idle_stream_of_a_stopped_server_is_gone() -> None:
    feed = Feed()
    async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
        call = peer.open("feed.awaited")
        await peer.next_message(call)
        await target.server.close()
        await eventually(lambda: feed.ends == ["CancelledError"])
