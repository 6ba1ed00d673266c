"""Handlers that stream, served to a client that speaks frames by hand."""

import asyncio
from typing import Any

import msgspec
import pytest

from fastrpc import Admission, Limits, ServerConfig, Status, Timeouts
from tests.support.feed import Feed
from tests.support.raw_streams import BOTH_WAYS, CLIENT_STREAM, StreamPeer, stream_peer
from tests.support.served import Served, served
from tests.support.waiting import eventually
from tests.support.wire_frames import Cancel, Credit, Data, End, Head, Response

WINDOW = 65_536
CANCELLED, RESOURCE_EXHAUSTED, UNAVAILABLE = (
    int(Status.CANCELLED),
    int(Status.RESOURCE_EXHAUSTED),
    int(Status.UNAVAILABLE),
)


async def is_at_base(target: Served) -> None:
    """Wait until nothing is under way, and see that nothing is held."""
    await eventually(lambda: not target.server.stats()["live"]["calls"])
    for session in target.server._gate.engines:  # type: ignore[union-attr]
        assert session.stats()["calls"] == 0
        assert session.held_bytes == 0
        assert session.assembler.stream_pool_left == 33_554_432


async def round_trip(peer: StreamPeer) -> None:
    """Return once the server has read all that was sent, and all it sent before that was read."""
    assert (await peer.end(peer.open("feed.unary", 1, flags=0))).status == 0


class TestServerStreams:
    async def test_messages_then_a_response_without_a_value(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.count", 3)
            end = await peer.end(call)
            assert peer.messages(call) == [0, 1, 2]
            assert (end.status, end.payload, end.outcome) == (0, b"", 0)
            await is_at_base(target)

    @pytest.mark.parametrize("method", ["feed.count", "feed.lines", "feed.inline"])
    @pytest.mark.parametrize("limit", [0, 1, 1_000])
    async def test_every_kind_of_generator_streams(self, method: str, limit: int) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open(method, limit)
            assert (await peer.end(call)).status == 0
            assert peer.messages(call) == list(range(limit))
            await is_at_base(target)

    @pytest.mark.parametrize("method", ["feed.refuse", "feed.broken"])
    async def test_error_comes_after_the_messages(self, method: str) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open(method, 5)
            end = await peer.end(call)
            assert peer.messages(call) == [0, 1, 2, 3, 4]
            assert end.status in {Status.NOT_FOUND, Status.ABORTED}
            assert end.outcome == 0
            await is_at_base(target)

    async def test_crash_is_told_without_its_text(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.crash", 2)
            end = await peer.end(call)
            assert (peer.messages(call), end.status) == ([0, 1], Status.INTERNAL)
            assert b"ZeroDivision" not in end.message

    async def test_first_message_leaves_before_the_generator_ends(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.awaited")
            assert await peer.next_message(call) == 1

    async def test_error_waits_until_every_message_before_it_has_left(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.refuse", 10_000)
            await round_trip(peer)
            sent = len(peer.messages(call))
            assert 0 < sent < 10_000
            peer.peer.send(Credit(call, 1_000_000).encode())
            assert (await peer.end(call)).status == Status.NOT_FOUND
            assert peer.messages(call) == list(range(10_000))

    async def test_other_calls_are_answered_during_a_stream(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            peer.open("feed.endless", 100)
            other = peer.open("feed.unary", "hello", flags=0)
            assert msgspec.msgpack.decode((await peer.end(other)).payload) == "hello"


class TestCredit:
    @pytest.mark.parametrize("method", ["feed.endless", "feed.blocks"])
    async def test_generator_waits_when_its_window_is_used_up(self, method: str) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open(method, 1_000)
            await eventually(lambda: feed.yielded > 60)
            await round_trip(peer)
            cost = [16 + 3 + 1_000 for _ in peer.data(call)]
            assert sum(cost) <= WINDOW < sum(cost) + 2 * cost[0]
            # Only as many messages as fit between a thread and the loop are made ahead.
            assert feed.yielded <= len(cost) + (2 if method == "feed.endless" else 70)
            peer.peer.send(Credit(call, 10 * cost[0]).encode())
            for _ in range(10):
                await peer.next_message(call)
            await round_trip(peer)
            assert len(peer.data(call)) <= len(cost) + 11

    async def test_message_over_the_window_is_cut(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.sized", [200_000, 5])
            first = await peer.peer.next(Data)
            assert (first.more, first.total) == (True, 200_005)
            peer.peer.send(Credit(call, 200_005).encode())
            end = await peer.end(call)
            pieces = peer.data(call)
            assert sum(len(piece.payload) for piece in pieces) == 200_005 + 7
            assert end.status == 0

    async def test_unread_stream_of_a_client_holds_its_window(self) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.unread", flags=CLIENT_STREAM)
            payload = msgspec.msgpack.encode(bytes(1_000))
            cost = 16 + len(payload)
            for _ in range(WINDOW // cost):
                peer.peer.send(Data(call, payload, codec=1).encode())
            await round_trip(peer)
            [session] = target.server._gate.engines  # type: ignore[union-attr]
            assert WINDOW - cost < session.held_bytes - 3_072 <= WINDOW
            assert not [frame for frame in peer.peer.frames if isinstance(frame, Credit) and frame.id == call]
            peer.peer.send(End(call).encode())
            feed.go_on.set()
            end = await peer.end(call)
            assert msgspec.msgpack.decode(end.payload) == WINDOW // cost * 1_000
            await is_at_base(target)

    async def test_credit_comes_back_as_messages_are_taken(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.total", flags=CLIENT_STREAM)
            for _ in range(20):
                peer.send(call, *range(500))
                await round_trip(peer)
            peer.send(call, end=True)
            assert msgspec.msgpack.decode((await peer.end(call)).payload) == 20 * sum(range(500))
            await is_at_base(target)

    async def test_large_message_of_a_client_arrives(self) -> None:
        feed = Feed()
        feed.go_on.set()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.unread", flags=CLIENT_STREAM)
            payload = msgspec.msgpack.encode(bytes(300_000))
            peer.peer.send(Data(call, payload[:60_000], total=len(payload), more=True, codec=1).encode())
            while (await peer.peer.next(Credit)).id != call:
                pass
            peer.peer.send(Data(call, payload[60_000:], cont=True).encode(), End(call).encode())
            assert msgspec.msgpack.decode((await peer.end(call)).payload) == 300_000
            await is_at_base(target)


class TestEnds:
    @pytest.mark.parametrize("method", ["feed.endless", "feed.awaited"])
    async def test_cancelled_generator_gets_the_cancellation_where_it_waits(self, method: str) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open(method, *([100] if method == "feed.endless" else []))
            await round_trip(peer)
            peer.peer.send(Cancel(call).encode())
            assert (await peer.end(call)).status == CANCELLED
            assert feed.ends == ["CancelledError"]
            await is_at_base(target)

    async def test_generator_in_a_thread_is_cancelled_at_its_next_yield(self) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.blocks", 1_000)
            await round_trip(peer)
            peer.peer.send(Cancel(call).encode())
            assert (await peer.end(call)).status == CANCELLED
            await eventually(lambda: len(feed.ends) == 2)
            assert feed.ends == ["CancelledError", "finally"]
            await is_at_base(target)

    async def test_generator_that_ignores_the_cancellation_is_ended(self) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.stubborn")
            await round_trip(peer)
            peer.peer.send(Cancel(call).encode())
            assert (await peer.end(call)).status in {CANCELLED, Status.INTERNAL}
            await is_at_base(target)

    async def test_lost_connection_ends_every_stream(self) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target:
            async with stream_peer(target) as peer:
                for method, flags in (
                    ("feed.endless", 32),
                    ("feed.blocks", 32),
                    ("feed.total", CLIENT_STREAM),
                    ("feed.awaited", 32),
                ):
                    peer.open(
                        method, *([100] if method in {"feed.endless", "feed.blocks"} else []), flags=flags
                    )
                await round_trip(peer)
            await eventually(lambda: len(feed.ends) == 5)
            assert sorted(feed.ends) == ["CancelledError"] * 4 + ["finally"]
            await eventually(lambda: not target.server.stats()["live"]["calls"])

    @pytest.mark.parametrize(
        ("method", "arguments", "flags"),
        [("feed.endless", [100], 32), ("feed.awaited", [], 32), ("feed.total", [], CLIENT_STREAM)],
    )
    async def test_deadline_covers_the_whole_stream(
        self, method: str, arguments: list[Any], flags: int
    ) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open(method, *arguments, flags=flags, timeout_us=50_000)
            assert (await peer.end(call)).status == Status.DEADLINE_EXCEEDED
            assert feed.ends == ["CancelledError"]
            await is_at_base(target)

    async def test_default_timeout_of_calls_does_not_end_a_stream(self) -> None:
        feed = Feed()
        config = ServerConfig(timeouts=Timeouts(call=0.02))
        async with served(feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            call = peer.open("feed.awaited", timeout_us=0)
            unary = peer.open("feed.unary", 1, flags=0, timeout_us=0)
            await peer.end(unary)
            await asyncio.sleep(0.1)
            feed.go_on.set()
            assert (await peer.end(call)).status == 0
            assert peer.messages(call) == [1, 2]

    async def test_draining_waits_for_an_endless_stream_to_end(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.until_drain")
            await peer.next_message(call)
            drain = asyncio.create_task(target.server.drain())
            assert (await peer.end(call)).status == 0
            assert peer.messages(call) == [1, 2]
            assert await drain

    @pytest.mark.parametrize("method", ["feed.endless", "feed.blocks"])
    async def test_drain_limit_ends_streams_as_unavailable(self, method: str) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open(method, 100)
            await round_trip(peer)
            assert not await target.server.drain(0.05)
            end = await peer.end(call)
            assert (end.status, end.outcome) == (UNAVAILABLE, 0)

    async def test_message_over_the_limit_ends_the_call(self) -> None:
        feed = Feed()
        config = ServerConfig(limits=Limits(message_bytes=100_000))
        async with served(feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            call = peer.open("feed.total", flags=CLIENT_STREAM)
            peer.peer.send(Data(call, bytes(1_000), total=200_000, more=True, codec=1).encode())
            assert (await peer.end(call)).status == RESOURCE_EXHAUSTED
            await eventually(lambda: feed.ends == ["CancelledError"])
            await is_at_base(target)

    async def test_handler_that_receives_after_its_cancellation_is_told_again(self) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.deaf", flags=CLIENT_STREAM)
            await round_trip(peer)
            peer.peer.send(Cancel(call).encode())
            await peer.end(call)
            assert feed.ends == ["CancelledError"] * 3
            await is_at_base(target)


class TestClientStreams:
    async def test_messages_reach_the_handler_in_order(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.total", 100, flags=CLIENT_STREAM)
            peer.send(call, 1, 2, 3)
            await round_trip(peer)
            peer.send(call, 4, end=True)
            assert msgspec.msgpack.decode((await peer.end(call)).payload) == 110

    async def test_early_answer_ends_the_call(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.first", flags=CLIENT_STREAM)
            peer.send(call, 7, 8, 9)
            assert msgspec.msgpack.decode((await peer.end(call)).payload) == 7
            peer.send(call, 10, 11, end=True)
            await round_trip(peer)
            await is_at_base(target)

    async def test_message_of_another_type_is_an_invalid_argument(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.total", flags=CLIENT_STREAM)
            peer.send(call, 1, "two")
            end = await peer.end(call)
            assert end.status == Status.INVALID_ARGUMENT
            assert b"feed.total: message: expected `int`, got `str`" in end.message

    async def test_bidirectional_streams_answer_while_messages_come(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.scale", 10, flags=BOTH_WAYS)
            for number in range(5):
                peer.send(call, number)
                assert await peer.next_message(call) == 10 * number
            peer.send(call, end=True)
            assert (await peer.end(call)).status == 0
            await is_at_base(target)


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "flags", "verb"),
        [
            ("feed.count", 0, "client.stream("),
            ("feed.count", CLIENT_STREAM, "client.stream("),
            ("feed.count", BOTH_WAYS, "client.stream("),
            ("feed.total", 0, "client.call("),
            ("feed.scale", 32, "client.stream("),
            ("feed.unary", 32, "client.call("),
            ("feed.unary", CLIENT_STREAM, "client.call("),
        ],
    )
    async def test_shape_of_another_kind_is_refused_by_the_name_of_its_verb(
        self, method: str, flags: int, verb: str
    ) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open(method, 1, flags=flags)
            end = await peer.end(call)
            assert (end.status, end.outcome) == (Status.INVALID_ARGUMENT, 1)
            assert f"write {verb}" in end.message.decode()
            await is_at_base(target)

    async def test_streams_over_the_limit_are_refused(self) -> None:
        config = ServerConfig(limits=Limits(streams=2))
        async with served(Feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            first, second, third = (peer.open("feed.awaited") for _ in range(3))
            end = await peer.end(third)
            assert (end.status, end.outcome) == (RESOURCE_EXHAUSTED, 1)
            assert b"Limits.streams" in end.message
            peer.peer.send(Cancel(first).encode())
            await peer.end(first)
            fourth = peer.open("feed.count", 1)
            assert (await peer.end(fourth)).status == 0
            peer.peer.send(Cancel(second).encode())

    async def test_wrong_arguments_are_refused_before_the_generator_begins(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            for method, flags in (
                ("feed.count", 32),
                ("feed.total", CLIENT_STREAM),
                ("feed.scale", BOTH_WAYS),
            ):
                call = peer.open(method, "many", flags=flags)
                end = await peer.end(call)
                assert (end.status, end.outcome) == (Status.INVALID_ARGUMENT, 1)
            await is_at_base(target)

    async def test_generators_in_threads_take_at_most_half_of_the_threads(self) -> None:
        feed = Feed()
        config = ServerConfig(admission=Admission(handler_threads=4, queue_age=20))
        async with served(feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            calls = [peer.open("feed.paced") for _ in range(3)]
            assert [await peer.next_message(call) for call in calls[:2]] == [1, 1]
            await round_trip(peer)
            assert peer.messages(calls[2]) == []
            feed.thread_goes_on.set()
            for call in calls:
                assert (await peer.end(call)).status == 0
                assert peer.messages(call) == [1, 2]


class TestMetadata:
    async def test_first_metadata_goes_ahead_of_the_first_message(self) -> None:
        async with served(Feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.described")
            end = await peer.end(call)
            kinds = [type(frame) for frame in peer.peer.frames if getattr(frame, "id", 0) == call]
            assert kinds == [Head, Data, Response]
            [head] = [frame for frame in peer.peer.frames if isinstance(frame, Head)]
            assert b"first" in head.metadata
            assert b"last" not in head.metadata
            assert b"last" in end.metadata
            assert b"first" not in end.metadata

    async def test_first_metadata_can_be_sent_by_itself(self) -> None:
        feed = Feed()
        async with served(feed, scheme="tcp") as target, stream_peer(target) as peer:
            call = peer.open("feed.early")
            assert b"first" in (await peer.peer.next(Head)).metadata
            assert peer.messages(call) == []
            feed.go_on.set()
            await peer.end(call)
            assert peer.messages(call) == ["a"]


class TestManyStreams:
    async def test_a_thousand_streams_leak_nothing(self) -> None:
        # The frames are read in Python in the server's own loop, which delays it.
        config = ServerConfig(admission=Admission(queue_age=60))
        async with served(Feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
            calls = [peer.open("feed.count", 30) for _ in range(1_000)]
            ends = [await peer.peer.next(Response) for _ in calls]
            assert sorted((end.id, end.status) for end in ends) == [(call, 0) for call in calls]
            by_call: dict[int, list[int]] = {call: [] for call in calls}
            for frame in peer.peer.frames:
                if isinstance(frame, Data):
                    by_call[frame.id].append(msgspec.msgpack.decode(frame.payload))
            assert all(numbers == list(range(30)) for numbers in by_call.values())
            await is_at_base(target)
