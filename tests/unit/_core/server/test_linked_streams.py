"""Streams of a wire that has a flow: each side sends at the pace of its reader, and every end of a call ends them."""

import asyncio
import time

import pytest

from fastrpc import Memory, ServerConfig, Timeouts
from fastrpc_harness.checking import check
from tests.support.feed import Feed
from tests.support.lines import lines, said
from tests.support.waiting import eventually


def in_order(written: bytes) -> list[str]:
    """Return the lines that were written."""
    return written.decode().splitlines()


async def test_messages_of_a_handler_leave_in_order_ahead_of_its_answer() -> None:
    async with lines(shop=Feed()) as connection:
        await connection.give(b"feed.count 3\n")
        await eventually(lambda: len(said(connection)) == 4)
        written = in_order(bytes(connection.transport.written))
        assert written == ["1 MESSAGE 0", "1 MESSAGE 1", "1 MESSAGE 2", "1 OK"]


async def test_messages_of_a_caller_come_until_it_ends_and_are_credited() -> None:
    async with lines(shop=Feed()) as connection:
        await connection.give(b"feed.total\nmessage 1 20\nmessage 1 22\nend 1\n")
        await eventually(lambda: "1 OK 42" in said(connection))
        assert said(connection) == ["1 OK 42", "1 TAKEN 3", "1 TAKEN 3"]
        assert connection.engine.connection.held_bytes == 0


async def test_the_first_metadata_leaves_ahead_of_the_first_message() -> None:
    async with lines(shop=Feed()) as connection:
        await connection.give(b"feed.described\n")
        await eventually(lambda: "1 OK" in said(connection))
        written = in_order(bytes(connection.transport.written))
        assert written == ['1 HEAD {"first": "1"}', '1 MESSAGE "a"', "1 OK"]


async def test_a_failure_comes_after_the_messages_before_it() -> None:
    async with lines(shop=Feed()) as connection:
        await connection.give(b"feed.refuse 2\n")
        await eventually(lambda: len(said(connection)) == 3)
        written = in_order(bytes(connection.transport.written))
        assert written == ["1 MESSAGE 0", "1 MESSAGE 1", "1 NOT_FOUND no more of them"]


async def test_a_handler_waits_while_the_peer_takes_nothing_and_continues_then() -> None:
    feed = Feed()
    async with lines(shop=feed, memory=Memory(send_soft=16_384)) as connection:
        connection.transport.untaken = 65_536
        await connection.give(b"feed.endless 1000\n")
        await eventually(lambda: connection.transport.is_paused)
        await asyncio.sleep(0)
        before = feed.yielded
        for _ in range(10):
            await asyncio.sleep(0)
        assert feed.yielded == before
        connection.transport.untaken = 0
        await eventually(lambda: feed.yielded > before)
        await connection.give(b"cancel 1\n")
        await eventually(lambda: feed.ends)


async def test_a_caller_that_sends_ahead_of_its_window_breaks_the_protocol() -> None:
    feed = Feed()
    async with lines(shop=feed) as connection:
        await connection.give(b"feed.unread\n")
        await connection.give(b'message 1 "%s"\n' % bytes(500).hex().encode() * 2)
        await eventually(lambda: connection.engine.leaving.ignores_input)
        feed.go_on.set()


async def test_a_cancel_ends_a_stream_at_its_yield() -> None:
    feed = Feed()
    async with lines(shop=feed) as connection:
        await connection.give(b"feed.awaited\n")
        await eventually(lambda: said(connection) == ["1 MESSAGE 1"])
        await connection.give(b"cancel 1\n")
        await eventually(lambda: len(said(connection)) == 2)
        assert in_order(bytes(connection.transport.written))[1].startswith("1 CANCELLED ")
        await eventually(lambda: feed.ends == ["CancelledError"])


async def test_a_stream_ends_at_the_deadline_that_its_caller_states() -> None:
    feed = Feed()
    async with lines(shop=feed) as connection:
        await connection.give(b"feed.awaited@20\n")
        await eventually(lambda: len(said(connection)) == 2)
        assert in_order(bytes(connection.transport.written))[1].startswith("1 DEADLINE_EXCEEDED ")
        await eventually(lambda: feed.ends == ["CancelledError"])


async def test_a_stream_continues_while_its_connection_drains() -> None:
    feed = Feed()
    async with lines(shop=feed) as connection:
        await connection.give(b"feed.awaited\n")
        await eventually(lambda: said(connection) == ["1 MESSAGE 1"])
        connection.engine.begin_drain(0)
        check(connection.engine, time.monotonic_ns() + 3_000_000_000)
        assert not connection.is_over
        feed.go_on.set()
        await eventually(lambda: "1 OK" in said(connection))
        await eventually(lambda: connection.is_over)


@pytest.mark.parametrize("call", [b"feed.total\n", b"feed.awaited\n"])
async def test_the_end_of_the_connection_ends_its_streams(call: bytes) -> None:
    feed = Feed()
    async with lines(shop=feed) as connection:
        await connection.give(call + b"message 1 20\n")
        await eventually(lambda: connection.gate.running == 1)
        wire = connection.engine.wire
        connection.lose()
        await eventually(lambda: feed.ends == ["CancelledError"])
        assert wire.calls == {}
        assert connection.engine.connection.held_bytes == 0


async def test_a_reader_without_messages_is_ended_after_a_while() -> None:
    feed = Feed()
    config = ServerConfig(timeouts=Timeouts(stream_idle=0.05))
    async with lines(shop=feed, timeouts=config.timeouts) as connection:
        await connection.give(b"feed.total\n")
        await eventually(lambda: said(connection))
        assert said(connection)[0].startswith("1 DEADLINE_EXCEEDED feed.total: no message of its caller came")
