"""Frames cut from the bytes of a served connection, and the order of its output."""

import dataclasses
import time

import msgspec
import pytest

from fastrpc import Limits, Memory, ServerConfig
from fastrpc_harness.checking import check
from tests.support.rpcx_arith import Arith
from tests.support.rpcx_link import served_rpcx
from tests.support.rpcx_wire import RAW, Frame, call

#: Longer frames get memory of their own; shorter rests of one are copied; longer payloads leave as they are.
SHORT_FRAME = 65_536
LEAST_DIRECT = 4_096
COPIED_PAYLOAD = 32_768
SECOND = 1_000_000_000

BEAT = Frame(
    path="any", method="thing", heartbeat=True, sequence=7, metadata={"odd": "\udcff"}, payload=b"\xc1"
)


def echo(size: int, sequence: int = 0) -> Frame:
    return call("Arith", "EchoBytes", bytes(size), serialize=RAW, sequence=sequence)


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 60, 10_000])
async def test_any_cut_of_the_bytes_gives_the_same_answers(size: int) -> None:
    product = call("Arith", "Mul", {"A": 6, "B": 7}, sequence=1)
    async with served_rpcx(Arith()) as talk:
        await talk.send(BEAT, product, echo(3, 2), BEAT, size=size)
        frames = await talk.hear(4)
        # A turn that takes long leaves calls to the next one: the second beat may be answered before them.
        beats = [frame for frame in frames if frame.heartbeat]
        assert beats == [dataclasses.replace(BEAT, response=True)] * 2
        answer, echoed = (frame for frame in frames if not frame.heartbeat)
        assert (answer.sequence, answer.value()) == (1, {"C": 42})
        assert (echoed.sequence, echoed.payload) == (2, bytes(3))


@pytest.mark.parametrize(
    "size",
    [
        COPIED_PAYLOAD,
        COPIED_PAYLOAD + 1,
        SHORT_FRAME - 100,
        SHORT_FRAME,
        SHORT_FRAME + LEAST_DIRECT - 1,
        3 * SHORT_FRAME,
        1_000_000,
    ],
)
@pytest.mark.parametrize("read", [1_000, 65_536])
async def test_frames_of_every_length_arrive_and_leave_whole_and_in_order(size: int, read: int) -> None:
    async with served_rpcx(Arith()) as talk:
        await talk.send(BEAT, echo(size, 1), echo(2, 2), echo(size, 3), size=read)
        frames = await talk.hear(4)
        assert [frame.sequence for frame in frames] == [7, 1, 2, 3]
        assert [len(frame.payload) for frame in frames] == [1, size, 2, size]
        assert talk.engine.connection.held_bytes == 0


async def test_a_long_frame_is_counted_while_it_comes_and_given_back_when_the_stream_ends() -> None:
    async with served_rpcx(Arith()) as talk:
        await talk.send(echo(500_000).encode()[:300_000])
        assert talk.engine.connection.held_bytes == 300_000
        talk.lose()
        assert talk.engine.connection.held_bytes == 0


async def test_a_frame_without_room_in_memory_is_skipped_to_its_last_byte() -> None:
    config = ServerConfig(memory=Memory(request_bytes=1_000_000), limits=Limits(message_bytes=1_000_000))
    async with served_rpcx(Arith(), config=config) as talk:
        await talk.send(echo(1_000_010, 1), echo(5, 2), size=30_000)
        refused, answer = await talk.hear(2)
        assert (refused.sequence, refused.metadata["frpc-code"]) == (1, "RESOURCE_EXHAUSTED")
        assert (answer.sequence, answer.payload) == (2, bytes(5))


@pytest.mark.parametrize("size", [20_000, 500_000, 1_000_010], ids=["short", "long", "refused"])
async def test_a_frame_that_comes_below_the_lowest_rate_ends_the_connection(size: int) -> None:
    config = ServerConfig(memory=Memory(request_bytes=1_000_000), limits=Limits(message_bytes=1_000_000))
    async with served_rpcx(Arith(), config=config) as talk:
        await talk.send(BEAT, echo(size), size=9_600)
        await talk.hear(2)
        assert talk.wire.frame_began_ns == 0
        data = echo(size).encode()
        # 9,600 bytes have 40 seconds in addition to the 20 of silence.
        for part, seconds in ((data[:9_600], 50), (data[9_600:14_400], 70)):
            await talk.send(part)
            now = talk.engine.received_ns = time.monotonic_ns() + seconds * SECOND
            check(talk.engine, now)
            assert not talk.is_over
        now = talk.engine.received_ns = time.monotonic_ns() + 90 * SECOND
        check(talk.engine, now)
        assert talk.is_over
        talk.lose()
        assert talk.engine.connection.held_bytes == 0


@pytest.mark.parametrize("behind", [b"\x42", Frame().encode()[:12] + bytes(4)])
async def test_nothing_after_an_invalid_frame_is_handled(behind: bytes) -> None:
    async with served_rpcx(Arith()) as talk:
        await talk.send(echo(1, 1), behind + echo(1, 2).encode())
        assert [frame.sequence for frame in talk.answers()] == [1]
        assert talk.is_over


async def test_a_long_frame_whose_parts_do_not_fit_ends_the_connection() -> None:
    data = bytearray(echo(200_000).encode())
    data[16:20] = (2**32 - 1).to_bytes(4, "big")
    async with served_rpcx(Arith()) as talk:
        await talk.send(bytes(data), size=50_000)
        assert (talk.answers(), talk.is_over) == ([], True)
        assert talk.engine.connection.held_bytes == 0


async def test_values_of_arguments_are_not_looked_at_before_the_frame_is_whole() -> None:
    data = call("Arith", "Echo", "x" * 100).encode()
    async with served_rpcx(Arith()) as talk:
        await talk.send(data[:-1])
        assert (talk.answers(), talk.engine.stats()["calls"]) == ([], 0)
        await talk.send(data[-1:])
        [answer] = await talk.hear()
        assert answer.payload == msgspec.msgpack.encode("x" * 100)
