"""Both ends with more to write than the other takes: nobody hangs, and nobody holds more than it may."""

import asyncio
import re
import time
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Admission,
    CallError,
    Client,
    ClientConfig,
    DeadlineExceededError,
    Keepalive,
    Limits,
    Memory,
    Server,
    ServerConfig,
    Status,
    Timeouts,
)
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.frame_factory import cut, opening, request
from tests.support.held_calls import HOLD_OUTPUT
from tests.support.raw_peer import RawPeer, raw_client
from tests.support.served import served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually
from tests.support.wire_frames import Goaway, Request, Response, SettingsFrame
from tests.support.wire_layout import Reason
from tests.support.wire_settings import Setting

KIB, MIB = 1024, 1024 * 1024
LARGE = bytes(256 * KIB)


@fastrpc.service("bulk")
class Bulk:
    def __init__(self) -> None:
        self.started = 0
        self.running = 0
        self.most_running = 0
        self.release = asyncio.Event()

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        self.started += 1
        return payload

    @fastrpc.method
    async def answer(self, size: int) -> bytes:
        self.started += 1
        return bytes(size)

    @fastrpc.method(codec="raw")
    async def chew(self, payload: bytes) -> bytes:
        """Keep the loop for longer than a stall."""
        time.sleep(0.022)
        return payload[:1]

    @fastrpc.method(codec="raw")
    async def keep(self, payload: bytes) -> bytes:
        self.started += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.release.wait()
        finally:
            self.running -= 1
        return payload[:1]


def sessions(server: Server) -> list[Any]:
    """Return the live connections of a server."""
    assert server._gate is not None
    return list(server._gate.engines)


async def open_up(peer: RawPeer, **settings: int) -> None:
    """Finish the opening, as a client with these settings."""
    peer.send(opening(False, {Setting[name]: value for name, value in settings.items()}))
    await peer.next(SettingsFrame)


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_large_calls_both_ways_at_once_end(scheme: str, scale: Any) -> None:
    bulk, count = Bulk(), scale(256)
    async with served(bulk, scheme=scheme) as target, Client(target) as client:
        view = client.with_options(timeout=60)
        answers = await asyncio.gather(*(view.call(Bulk.echo, LARGE) for _ in range(count)))
        assert all(len(answer) == len(LARGE) for answer in answers)
        await eventually(lambda: target.server.stats()["buffered"] + client.stats()["buffered"] == 0)
        await eventually(lambda: bytes_held() == 0)


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_large_requests_that_come_faster_than_they_start_are_not_refused(scheme: str) -> None:
    """The server's handlers keep its loop: the bytes read in between must not use up its memory."""
    config = ServerConfig(memory=Memory(request_bytes=32 * MIB), admission=Admission(queue_age=60))
    async with served(Bulk(), scheme=scheme, config=config) as target, Client(target) as client:
        view = client.with_options(timeout=60)
        answers = await asyncio.gather(*(view.call(Bulk.chew, bytes(MIB)) for _ in range(48)))
        assert answers == [b"\0"] * 48
        await eventually(lambda: target.server.stats()["buffered"] + client.stats()["buffered"] == 0)
        await eventually(lambda: bytes_held() == 0)


@pytest.mark.parametrize("scheme", ["tcp", "unix", "memory"])
async def test_output_is_counted_exactly_until_it_has_left(scheme: str) -> None:
    """The transport writes the last bytes by itself: only a look notices."""
    silent = Keepalive(interval=None)
    async with served(Bulk(), scheme=scheme, config=ServerConfig(keepalive=silent)) as target:
        async with Client(target, config=ClientConfig(keepalive=silent)) as client:
            await client.ready()
            [session] = sessions(target.server)
            reading = client._pool.connections[0].transport
            for size in (3 * MIB, 5 * MIB, 8 * MIB):
                reading.pause_reading()
                answer = asyncio.ensure_future(client.call(Bulk.answer, size))
                await eventually(lambda: session.connection.held_bytes > size // 8)  # noqa: B023 - awaited at once
                reading.resume_reading()
                assert len(await answer) == size
                await eventually(lambda: bytes_held() == session.connection.held_bytes == 0)


async def test_calls_that_wait_behind_a_little_output_start_once_it_has_left() -> None:
    """The limit is so small that the transport takes all bytes, and reports nothing when they are gone."""
    silent = Keepalive(interval=None)
    config = ServerConfig(
        keepalive=silent, memory=Memory(send_soft=16 * KIB), admission=Admission(queue_age=60)
    )
    async with served(Bulk(), scheme="tcp", config=config) as target:
        async with Client(target, config=ClientConfig(keepalive=silent)) as client:
            await client.ready()
            [session] = sessions(target.server)
            reading = client._pool.connections[0].transport
            reading.pause_reading()
            view = client.with_options(timeout=60)
            large = asyncio.ensure_future(view.call(Bulk.answer, 8 * MIB))
            await output_to_wait(target.server)
            later = [asyncio.ensure_future(view.call(Bulk.answer, 1)) for _ in range(3)]
            await eventually(lambda: target.server.stats()["live"]["waiting"] == 3)
            reading.resume_reading()
            assert len(await large) == 8 * MIB
            assert await asyncio.gather(*later) == [b"\0"] * 3
            await eventually(lambda: bytes_held() == session.connection.held_bytes == 0)


async def test_two_clients_in_opposite_directions_end(scale: Any) -> None:
    """Each loop is both a server and a client, and both write at once."""
    # The requests of a connection may hold 64 MiB.
    count = min(scale(128), 200)
    with ThreadedServer(Bulk(), make_loop=type(asyncio.get_running_loop())) as other:
        async with served(Bulk(), scheme="tcp") as target, Client(other.address) as there:
            async with Client(target) as here:
                calls = [
                    client.with_options(timeout=60).call(Bulk.echo, LARGE)
                    for client in (there, here)
                    for _ in range(count)
                ]
                answers = await asyncio.gather(*calls)
    assert all(len(answer) == len(LARGE) for answer in answers)


async def test_a_peer_that_reads_nothing_is_dropped(scale: Any) -> None:
    bulk = Bulk()
    async with served(bulk, scheme="tcp") as target, raw_client(target, receive_bytes=4 * KIB) as peer:
        await open_up(peer)
        [session] = sessions(target.server)
        session.liveness.write_wait_ns = 300_000_000
        peer.send(
            *(request(id, b"\x91\xce\x00\x20\x00\x00", method=b"bulk.answer", codec=1) for id in (1, 3, 5))
        )
        await eventually(lambda: session.closed_reason >= 0)
        assert session.closed_reason == Reason.SLOW_READER
        assert "nothing could be written for 0.3 s" in session.closed_text
        await eventually(lambda: not sessions(target.server))
        await eventually(lambda: bytes_held() == 0)


async def test_above_send_hard_the_time_is_a_second() -> None:
    bulk = Bulk()
    config = ServerConfig(
        memory=Memory(send_soft=64 * KIB, send_hard=64 * KIB), limits=Limits(message_bytes=64 * KIB)
    )
    async with served(bulk, scheme="tcp", config=config) as target:
        async with raw_client(target, receive_bytes=4 * KIB) as peer:
            await open_up(peer)
            [session] = sessions(target.server)
            ids = range(1, 401, 2)
            peer.send(*(request(id, b"\x91\xcd\xf0\x00", method=b"bulk.answer", codec=1) for id in ids))
            await eventually(lambda: session.closed_reason >= 0)
            assert session.closed_reason == Reason.SLOW_READER
            assert "for 1 s" in session.closed_text
            assert "(Memory.send_hard)" in session.closed_text


async def test_a_slow_reader_is_still_a_reader() -> None:
    bulk = Bulk()
    async with served(bulk, scheme="tcp") as target, raw_client(target, receive_bytes=64 * KIB) as peer:
        await open_up(peer)
        [session] = sessions(target.server)
        session.liveness.write_wait_ns = 400_000_000
        peer.send(request(1, b"\x91\xce\x00\xc0\x00\x00", method=b"bulk.answer", codec=1))
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            await peer._reader.read(64 * KIB)
            await asyncio.sleep(0.05)
        assert session.closed_reason == -1
        assert session.stream.is_write_paused


async def test_a_peer_that_returns_no_credit_is_dropped() -> None:
    """The peer reads everything, so the socket is never full, but it does not place what it reads."""
    bulk = Bulk()
    async with served(bulk, scheme="tcp") as target, raw_client(target) as peer:
        await open_up(peer)
        [session] = sessions(target.server)
        session.liveness.write_wait_ns = 300_000_000
        ids = range(1, 21, 2)
        peer.send(*(request(id, b"\x91\xce\x00\x20\x00\x00", method=b"bulk.answer", codec=1) for id in ids))
        assert (await peer.next(Goaway)).reason == Reason.SLOW_READER
        assert session.closed_reason == Reason.SLOW_READER


async def test_above_send_soft_no_handler_starts_until_the_peer_reads(scale: Any) -> None:
    bulk, count = Bulk(), 400
    config = ServerConfig(
        memory=Memory(send_soft=256 * KIB), admission=Admission(queue_age=30), timeouts=Timeouts(call=60)
    )
    async with served(bulk, scheme="tcp", config=config) as target:
        async with raw_client(target, receive_bytes=64 * KIB) as peer:
            await open_up(peer)
            [session] = sessions(target.server)
            ids = range(1, 2 * count, 2)
            peer.send(*(request(id, b"\x91\xcd\x80\x00", method=b"bulk.answer", codec=1) for id in ids))
            # A busy machine reads them in more than one turn.
            await eventually(lambda: bulk.started + target.server.stats()["live"]["waiting"] == count)
            # Only earlier calls hold memory: a little over 256 KiB, and the buffer of the system.
            assert session.stats()["buffered"] < 512 * KIB
            assert bulk.started < count // 2
            answers = [await peer.next(Response) for _ in range(count)]
            assert [answer.id for answer in answers] == list(ids)
            assert all(answer.status == Status.OK for answer in answers)
            assert bulk.started == count
            assert not session.connection.holding & HOLD_OUTPUT
        await eventually(lambda: target.server.stats()["live"]["waiting"] == 0)


async def output_to_wait(server: Server) -> None:
    """Wait until the system takes no more of the output of the only connection."""
    [session] = sessions(server)
    # Before it is full, the system takes waiting bytes and reports further room.
    await eventually(lambda: session.stream.is_write_paused and session.connection.holding & HOLD_OUTPUT)


async def test_calls_that_wait_too_long_behind_send_soft_are_refused() -> None:
    bulk = Bulk()
    config = ServerConfig(memory=Memory(send_soft=64 * KIB), admission=Admission(queue_age=0.2))
    async with served(bulk, scheme="tcp", config=config) as target:
        async with raw_client(target, receive_bytes=4 * KIB) as peer:
            await open_up(peer)
            peer.send(request(1, b"\x91\xce\x00\x40\x00\x00", method=b"bulk.answer", codec=1))
            await output_to_wait(target.server)
            peer.send(request(3, b"\x91\x01", method=b"bulk.answer", codec=1))
            await eventually(lambda: target.server.stats()["totals"]["refused"] == 1)
            while (answer := await peer.next(Response)).id != 3:
                pass
            assert (answer.status, answer.outcome) == (Status.RESOURCE_EXHAUSTED, 1)
            assert re.match(rb"bulk.answer waited \d\.\d+ s for its start", answer.message)
            assert b"0.2 s are allowed (Admission.queue_age)" in answer.message
            assert bulk.started == 1


async def test_more_than_may_wait_is_refused_at_once() -> None:
    bulk = Bulk()
    config = ServerConfig(
        memory=Memory(send_soft=64 * KIB), admission=Admission(queue_length=2, queue_age=30)
    )
    async with served(bulk, scheme="tcp", config=config) as target:
        async with raw_client(target, receive_bytes=4 * KIB) as peer:
            await open_up(peer)
            peer.send(request(1, b"\x91\xce\x00\x40\x00\x00", method=b"bulk.answer", codec=1))
            await output_to_wait(target.server)
            peer.send(*(request(id, b"\x91\x01", method=b"bulk.answer", codec=1) for id in (3, 5, 7)))
            while (answer := await peer.next(Response)).id != 7:
                pass
            assert (answer.status, answer.outcome) == (Status.RESOURCE_EXHAUSTED, 1)
            assert b"the server lets 2 wait (Admission.queue_length)" in answer.message


async def test_a_call_that_waits_for_its_start_can_be_cancelled_and_can_expire() -> None:
    bulk = Bulk()
    config = ServerConfig(memory=Memory(send_soft=64 * KIB), admission=Admission(queue_age=30))
    async with served(bulk, scheme="tcp", config=config) as target, Client(target) as client:
        await client.ready()
        client._pool.connections[0].transport.pause_reading()
        large = asyncio.create_task(client.call(Bulk.answer, 8 * MIB))
        await output_to_wait(target.server)
        cancelled = asyncio.create_task(client.call(Bulk.answer, 1))
        kept = asyncio.create_task(client.call(Bulk.answer, 1))
        await eventually(lambda: target.server.stats()["live"]["waiting"] == 2)
        with pytest.raises(DeadlineExceededError):
            await client.with_options(timeout=0.1).call(Bulk.answer, 1)
        cancelled.cancel()
        await eventually(lambda: target.server.stats()["live"]["waiting"] == 1)
        client._pool.connections[0].transport.resume_reading()
        assert len(await large) == 8 * MIB
        assert await kept == b"\x00"
        assert bulk.started == 2
        await eventually(lambda: client.stats()["live"]["calls"] == 0)


@pytest.mark.parametrize("compressor", [None, "gzip"])
async def test_requests_over_their_budget_are_refused_and_named(compressor: str | None) -> None:
    """Compressed ones count by the size that their handlers get."""
    bulk = Bulk()
    config = ServerConfig(
        memory=Memory(request_bytes=MIB), limits=Limits(message_bytes=512 * KIB), timeouts=Timeouts(call=60)
    )
    async with served(bulk, scheme="tcp", config=config) as target, Client(target) as client:
        await client.ready()
        view = client.with_options(compressor=compressor)
        tasks = [asyncio.create_task(view.call(Bulk.keep, bytes(300 * KIB))) for _ in range(6)]
        await eventually(lambda: sum(task.done() for task in tasks) == 3)
        bulk.release.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [result for result in results if isinstance(result, Exception)]
        assert all(isinstance(error, fastrpc.OverloadedError) for error in refused)
        assert {error.processed for error in refused} == {"no"}  # type: ignore[attr-defined]
        assert "(Memory.request_bytes)" in str(refused[0])
        assert str(MIB) in str(refused[0])
        assert 3 * 300 * KIB <= bulk.most_running * 300 * KIB <= MIB
        [session] = sessions(target.server)
        await eventually(lambda: session.connection.request_held == 0)
        assert await client.call(Bulk.echo, bytes(500 * KIB)) == bytes(500 * KIB)
        await eventually(lambda: bytes_held() == 0)


async def test_requests_in_pieces_count_as_they_come() -> None:
    bulk = Bulk()
    config = ServerConfig(memory=Memory(request_bytes=MIB), limits=Limits(message_bytes=MIB))
    async with served(bulk, scheme="tcp", config=config) as target, raw_client(target) as peer:
        await open_up(peer)
        [session] = sessions(target.server)
        pieces = [cut(Request(id, b"bulk.keep", bytes(700 * KIB)), 60 * KIB) for id in (1, 3)]
        # Each of the two fits alone; the received part of the first grows until both are too much.
        peer.send(pieces[0][0], *pieces[1][:6])
        await eventually(lambda: session.connection.request_held == 7 * 60 * KIB)
        peer.send(*pieces[0][1:])
        await eventually(lambda: session.connection.request_held == 6 * 60 * KIB)
        answer = await peer.next(Response)
        assert (answer.id, answer.status, answer.outcome) == (1, Status.RESOURCE_EXHAUSTED, 1)
        peer.send(*pieces[1][6:])
        await eventually(lambda: bulk.started == 1)
        bulk.release.set()
        assert (await peer.next(Response)).id == 3
        await eventually(lambda: session.held_bytes == 0)


async def test_above_85_percent_of_the_process_new_calls_are_refused() -> None:
    bulk = Bulk()
    config = ServerConfig(memory=Memory(process_bytes=MIB), timeouts=Timeouts(call=60))
    async with served(bulk, scheme="tcp", config=config) as target, Client(target) as client:
        async with Client(target) as other:
            await asyncio.gather(client.ready(), other.ready())
            keeping = [asyncio.create_task(client.call(Bulk.keep, bytes(300 * KIB))) for _ in range(3)]
            await eventually(lambda: bulk.running == 3)
            with pytest.raises(fastrpc.OverloadedError) as failed:
                await other.call(Bulk.echo, b"x")
            assert failed.value.processed == "no"
            assert "(85 % of Memory.process_bytes)" in str(failed.value)
            bulk.release.set()
            await asyncio.gather(*keeping)
            await eventually(lambda: bytes_held() == 0)
            assert await other.call(Bulk.echo, b"x") == b"x"


async def test_a_full_process_holds_credit_and_closes_the_largest_holder() -> None:
    bulk = Bulk()
    config = ServerConfig(
        memory=Memory(process_bytes=2 * MIB),
        timeouts=Timeouts(call=60, linger=0.1),
        limits=Limits(message_bytes=16 * MIB),
    )
    async with served(bulk, scheme="tcp", config=config) as target, raw_client(target) as large:
        await open_up(large)
        state = target.server._gate
        assert state is not None
        state.memory.full_wait_ns = 200_000_000
        async with Client(target) as small:
            await small.ready()
            kept = asyncio.create_task(small.call(Bulk.keep, bytes(100 * KIB)))
            await eventually(lambda: bulk.running == 1)
            pieces = cut(Request(1, b"bulk.keep", bytes(15 * MIB)), 60 * KIB)
            large.send(*pieces[:40])
            goaway = await large.next(Goaway)
            assert goaway.reason == Reason.MEMORY
            assert b"(Memory.process_bytes)" in goaway.text
            assert str(2 * MIB).encode() in goaway.text
            await eventually(lambda: not state.memory.is_full)
            bulk.release.set()
            assert await kept == b"\x00"


async def test_a_request_that_stalls_is_answered() -> None:
    bulk = Bulk()
    async with served(bulk, scheme="tcp") as target, raw_client(target) as peer:
        await open_up(peer)
        [session] = sessions(target.server)
        session.liveness.piece_wait_ns = 200_000_000
        pieces = cut(Request(1, b"bulk.keep", bytes(200 * KIB)), 60 * KIB)
        peer.send(pieces[0])
        answer = await peer.next(Response)
        assert (answer.status, answer.outcome) == (Status.DEADLINE_EXCEEDED, 1)
        assert b"no piece of the message came for 0.2 s" in answer.message
        # Late frames are dropped, and the connection stays usable.
        peer.send(*pieces[1:], request(3, b"x", method=b"bulk.echo"))
        assert (await peer.next(Response)).payload == b"x"
        assert session.held_bytes == 0


async def test_a_request_that_continues_slowly_is_taken() -> None:
    bulk = Bulk()
    async with served(bulk, scheme="tcp") as target, raw_client(target) as peer:
        await open_up(peer)
        [session] = sessions(target.server)
        session.liveness.piece_wait_ns = 600_000_000
        # Longer than that in all.
        for piece in cut(Request(1, b"bulk.echo", bytes(24 * KIB)), 2 * KIB):
            peer.send(piece)
            await asyncio.sleep(0.08)
        assert (await peer.next(Response)).status == Status.OK


async def test_an_answer_that_stalls_fails_the_call() -> None:
    from tests.support.raw_peer import RawServer
    from tests.support.wire_frames import Cancel

    async with RawServer() as server, Client(server.address) as client:
        call = asyncio.create_task(client.with_options(timeout=None, idempotent=True).call(Bulk.echo, b"x"))
        peer = await server.accept()
        peer.send(opening(True))
        asked = await peer.next(Request)
        await client.ready()
        client._pool.connections[0].liveness.piece_wait_ns = 200_000_000  # type: ignore[attr-defined]
        peer.send(cut(Response(asked.id, 0, bytes(100 * KIB)), 60 * KIB)[0])
        with pytest.raises(DeadlineExceededError, match="no piece of the message came"):
            await call
        assert (await peer.next(Cancel)).reason == 1
        assert client.stats()["live"]["calls"] == 1
        peer.send(cut(Response(asked.id, 0, bytes(100 * KIB)), 60 * KIB)[1])
        await eventually(lambda: client.stats()["live"]["calls"] == 0)


async def test_a_limit_of_the_answer_is_the_answers_problem_alone() -> None:
    async with served(Bulk(), scheme="tcp") as target, Client(target) as client:
        with pytest.raises(CallError, match=r"Limits\.message_bytes"):
            await client.call(Bulk.answer, 17 * MIB)
        assert await client.call(Bulk.echo, b"x") == b"x"
