"""Streams that come by gRPC, of all kinds: order, windows, ends of either side, limits."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from h2.settings import SettingCodes

from fastrpc import Limits, Memory, Status, Timeouts
from tests.integration.grpc.test_unary_calls import channel, peering, serving
from tests.support.grpc_peer import grpc_peer, message
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

COUNT, TOTAL, BOTH, FIRST = (f"/test.v1.Raw/{name}" for name in ("count", "total", "both", "first"))


async def many(count: int, size: int = 10) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


class TestGrpcio:
    async def test_each_kind_of_stream(self) -> None:
        async with serving() as address, channel(address) as client:
            assert [one async for one in client.unary_stream(COUNT)(b"3")] == [b"0", b"1", b"2"]
            assert await client.stream_unary(TOTAL)(many(1_000, 100)) == b"100000"
            assert [len(one) async for one in client.stream_stream(BOTH)(many(100, 1_000))] == [1_000] * 100

    async def test_turns_are_taken(self) -> None:
        async with serving() as address, channel(address) as client:
            call = client.stream_stream(BOTH)()
            for number in range(50):
                await call.write(b"%d" % number)
                assert await call.read() == b"%d" % number
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK

    async def test_metadata_comes_with_the_first_message_and_with_the_end(self) -> None:
        async with serving() as address, channel(address) as client:
            call = client.unary_stream(COUNT)(b"3")
            assert dict(await call.initial_metadata())["first"] == "1"
            assert len([one async for one in call]) == 3
            assert list(await call.trailing_metadata()) == [("last", "2")]

    async def test_an_empty_stream_has_its_metadata(self) -> None:
        async with serving() as address, channel(address) as client:
            call = client.unary_stream(COUNT)(b"0")
            assert [one async for one in call] == []
            assert await call.code() is grpc.StatusCode.OK
            assert dict(await call.trailing_metadata()) == {"first": "1"}

    async def test_long_messages_of_both_sides(self) -> None:
        async with serving() as address, channel(address) as client:
            assert await client.stream_unary(TOTAL)(many(5, 2_000_000)) == b"10000000"
            sizes = [len(one) async for one in client.unary_stream("/test.v1.Raw/large")(b"1000000")]
            assert sizes == [1_000_000] * 8

    async def test_a_server_may_end_before_its_caller(self) -> None:
        async with serving() as address, channel(address) as client:
            call = client.stream_unary(FIRST)()
            await call.write(b"a")
            assert await call == b"a"

    async def test_a_cancelled_stream_stops_its_handler(self) -> None:
        raw = Raw()
        async with serving(raw) as address, channel(address) as client:
            call = client.stream_unary(TOTAL)()
            await call.write(b"a")
            await eventually(lambda: raw.received == [b"a"])
            call.cancel()
            await eventually(lambda: raw.cancelled == 1)

    async def test_a_deadline_ends_a_stream(self) -> None:
        raw = Raw()
        async with serving(raw) as address, channel(address) as client:
            call = client.stream_unary(TOTAL)(timeout=0.3)
            await call.write(b"a")
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await eventually(lambda: raw.cancelled == 1)


class TestEnds:
    async def test_an_early_end_is_trailers_and_a_reset_without_an_error(self) -> None:
        async with peering() as peer:
            stream = peer.open(FIRST)
            peer.send(stream, message(b"a"))
            answer = await peer.end(stream)
            await eventually(lambda: answer.reset is not None)
            assert (answer.messages, answer.status, answer.reset) == ([b"a"], 0, 0)

    async def test_messages_after_an_early_end_are_harmless(self) -> None:
        async with peering() as peer:
            stream = peer.open(FIRST)
            peer.send(stream, message(b"a"))
            # In one write with the remaining bytes, before the answer is known.
            peer.send(stream, message(b"b"), ends=True)
            assert (await peer.end(stream)).messages == [b"a"]
            assert (await peer.call("/test.v1.Raw/echo", b"x")).messages == [b"x"]

    async def test_half_closed_streams_are_answered(self) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            stream = peer.open(TOTAL, ends=True)
            assert (await peer.end(stream)).messages == [b"0"]
            stream = peer.open(BOTH)
            peer.send(stream, message(b"a") + message(b"b") + message(b""), ends=True)
            answer = await peer.end(stream)
            assert (answer.messages, answer.status) == ([b"a", b"b", b""], 0)

    async def test_messages_may_be_cut_anywhere(self) -> None:
        async with peering() as peer:
            stream = peer.open(BOTH)
            data = b"".join(message(bytes([number]) * number) for number in range(40))
            for at in range(0, len(data), 7):
                peer.send(stream, data[at : at + 7])
                await asyncio.sleep(0)
            peer.send(stream, b"", ends=True)
            assert [len(one) for one in (await peer.end(stream)).messages] == list(range(40))

    async def test_a_stream_that_ends_inside_a_message_is_internal(self) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            stream = peer.open(TOTAL)
            peer.send(stream, message(b"a") + message(b"b")[:-1], ends=True)
            answer = await peer.end(stream)
            assert (answer.status, answer.text) == (
                Status.INTERNAL,
                "the stream of the call ended inside a message",
            )
            # A stall of the loop may have held its start.
            await eventually(lambda: raw.ended == raw.started)

    async def test_a_message_over_the_limit_ends_its_stream(self) -> None:
        raw = Raw()
        async with peering(raw, limits=Limits(message_bytes=4_096)) as peer:
            stream = peer.open(TOTAL)
            peer.send(stream, message(b"a") + message(bytes(5_000)))
            answer = await peer.end(stream)
            assert (answer.status, "5000 bytes, the limit is 4096" in answer.text) == (
                Status.RESOURCE_EXHAUSTED,
                True,
            )
            # A stall of the loop may have held its start.
            await eventually(lambda: raw.ended == raw.started)

    async def test_a_server_stream_takes_one_message(self) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            stream = peer.open(COUNT)
            peer.send(stream, message(b"1") + message(b"2"), ends=True)
            assert (await peer.end(stream)).status == Status.UNIMPLEMENTED
            assert (await peer.end(peer.open(COUNT, ends=True))).status == Status.UNIMPLEMENTED
            assert raw.started == 0


class TestWindows:
    async def test_the_limits_of_the_server_are_its_settings(self) -> None:
        limits = Limits(stream_window_bytes=32_768, metadata_bytes=2_048, concurrent_calls=7)
        async with peering(limits=limits) as peer:
            settings = peer.h2.remote_settings
            assert settings[SettingCodes.INITIAL_WINDOW_SIZE] == 32_768
            assert settings[SettingCodes.MAX_HEADER_LIST_SIZE] == 2_048
            assert settings[SettingCodes.MAX_CONCURRENT_STREAMS] == 7
            assert settings[SettingCodes.MAX_FRAME_SIZE] == 262_144
            # The window of the connection.
            assert peer.h2.outbound_flow_control_window == 16 * 2**20

    async def test_a_sender_waits_for_the_window_of_its_reader(self) -> None:
        raw = Raw()
        async with serving(raw) as address, grpc_peer(address, takes=False) as peer:
            stream = peer.request("/test.v1.Raw/large", b"30000")
            answer = peer.answers[stream]
            await eventually(lambda: len(answer.data) >= 60_000)
            assert len(answer.data) <= 65_535
            # Another stream is answered as long as the window of the connection lasts.
            peer.h2.increment_flow_control_window(1_000_000)
            peer.flush()
            assert (await peer.call("/test.v1.Raw/echo", b"x")).messages == [b"x"]
            peer.h2.increment_flow_control_window(1_000_000, stream)
            peer.flush()
            assert len((await peer.end(stream)).messages) == 8

    async def test_a_message_that_its_window_could_hold_comes_once_the_reader_waits(self) -> None:
        """Credit goes back half a window at a time: less of it must not hold a message up."""
        raw = Raw()
        async with peering(raw, limits=Limits(stream_window_bytes=65_536)) as peer:
            stream = peer.open(TOTAL)
            await peer.send_all(stream, message(bytes(30_000)) + message(bytes(60_000)), ends=True)
            assert (await peer.end(stream)).messages == [b"90000"]

    async def test_a_waiting_reader_gets_the_missing_part_of_a_message(self) -> None:
        async with serving() as address, channel(address) as client:
            call = client.stream_stream(BOTH)()
            # The credit of the first is less than the bytes sent at once, and the second is longer than the remainder.
            for size in (29_000, 46_000):
                await call.write(bytes(size))
                assert len(await call.read()) == size
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF

    async def test_long_messages_of_streams_share_the_pool(self) -> None:
        raw = Raw()
        memory, limits = Memory(stream_pool=1_000_000), Limits(message_bytes=800_000)
        async with peering(raw, memory=memory, limits=limits) as peer:
            streams = [peer.open(TOTAL) for _ in range(4)]
            await asyncio.gather(
                *(peer.send_all(stream, message(bytes(800_000)), ends=True) for stream in streams)
            )
            assert {(await peer.end(stream)).status for stream in streams} == {0}
            assert sum(map(len, raw.received)) == 3_200_000


class TestLimits:
    async def test_streams_above_their_limit_are_refused_unprocessed(self) -> None:
        raw = Raw()
        async with peering(raw, limits=Limits(streams=2)) as peer:
            streams = [peer.open(TOTAL) for _ in range(3)]
            answer = await peer.end(streams[2])
            assert answer.reset == 7
            assert (await peer.call("/test.v1.Raw/echo", b"x")).messages == [b"x"]
            for stream in streams[:2]:
                peer.send(stream, b"", ends=True)
                assert (await peer.end(stream)).status == 0
            assert (await peer.end(peer.open(TOTAL, ends=True))).status == 0

    async def test_calls_above_their_limit_are_refused_unprocessed(self) -> None:
        raw = Raw()
        async with peering(raw, limits=Limits(concurrent_calls=2)) as peer:
            assert peer.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] == 2
            # As a client does that has not read the settings yet.
            peer.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
            peer.h2.remote_settings.acknowledge()
            streams = [peer.request("/test.v1.Raw/wait", b"x") for _ in range(3)]
            assert (await peer.end(streams[2])).reset == 7
            raw.go_on.set()
            assert [(await peer.end(stream)).messages for stream in streams[:2]] == [[b"x"], [b"x"]]

    async def test_a_stream_without_messages_ends_for_its_idleness(self) -> None:
        async with peering(timeouts=Timeouts(stream_idle=0.2)) as peer:
            answer = await peer.end(peer.open(TOTAL))
            assert (answer.status, "stream_idle" in answer.text) == (Status.DEADLINE_EXCEEDED, True)
