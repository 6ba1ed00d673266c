"""A busy connection yields the loop: between reads, so that woken tasks run, and between writes."""

import asyncio
import itertools
import time
from typing import Any

import fastrpc
from fastrpc import Client, ClientConfig, Limits
from fastrpc._core.io.session import Session
from fastrpc._core.server.gate import Gate
from fastrpc.endpoint import Address
from fastrpc.transports.base import ListenOptions
from fastrpc.transports.memory import TRANSPORT
from tests.support.blocking import keep_the_loop
from tests.support.frame_factory import answer, cut, opening
from tests.support.kept_connection import gate_for
from tests.support.recording_session import RecordingSession
from tests.support.rpcx_link import ServedRpcx
from tests.support.rpcx_wire import call
from tests.support.still_transport import StillTransport
from tests.support.used_turn import use_up_the_turn
from tests.support.waiting import eventually
from tests.support.wire_frames import Credit, Data, Request
from tests.unit._core.server.test_served_calls import serving_stream

KIB, MIB = 1024, 1024 * 1024

#: The bytes that a loop receives at once.
READ_BUFFER = 393_216
#: The bytes that a session writes before it checks whether more may follow.
STREAM_SHARE = 256 * KIB


@fastrpc.service("turns")
class Turns:
    """Takes and gives much, and waits."""

    def __init__(self) -> None:
        self.goes_on = 0
        self.noted: list[str] = []

    @fastrpc.method(inline=True)
    def note(self, text: str) -> None:
        self.noted.append(text[:5])

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.sleep(0)
        self.goes_on += 1

    @fastrpc.method(codec="raw")
    async def take(self, payload: bytes) -> bytes:
        return b""

    @fastrpc.method(codec="raw")
    async def give(self, payload: bytes) -> bytes:
        return bytes(8 * MIB)

    @fastrpc.method(codec="raw")
    async def give_some(self, payload: bytes) -> bytes:
        return bytes(64 * KIB)


def fed(session: Session, transport: StillTransport, data: bytes) -> bytes:
    """Hand bytes over as a transport that fills each given buffer, until it has to pause; return the remaining ones."""
    while data and not transport.is_paused:
        place = session.get_buffer(-1)
        size = min(len(place), len(data))
        place[:size] = data[:size]
        session.buffer_updated(size)
        data = data[size:]
    return data


def fill(session: Session, data: bytes) -> int:
    """Hand bytes over as one read; return how many fitted."""
    place = session.get_buffer(-1)
    size = min(len(place), len(data))
    place[:size] = data[:size]
    session.buffer_updated(size)
    return size


async def feed(session: Session, transport: StillTransport, data: bytes) -> tuple[bytes, bool]:
    """Do so in a callback of the loop; return the remaining bytes, and whether it had to pause."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(lambda: done.set_result((fed(session, transport, data), transport.is_paused)))
    rest, is_paused = await done
    return rest, is_paused


def upload(id: int) -> bytes:
    """Return a REQUEST of 8 MiB in pieces."""
    return b"".join(cut(Request(id, b"turns.take", bytes(8 * MIB)), 256 * KIB - 64))


def connected(gate: Gate) -> tuple[Session, StillTransport]:
    """Return a session that takes large messages, and its transport."""
    session, transport, _ = serving_stream(gate)
    return session, transport


async def test_after_some_megabytes_the_loop_has_its_turn() -> None:
    taken: list[int] = []
    async with gate_for(Turns()) as gate:
        # Four, but for a piece. A read of less took longer than a turn of the loop: other programs had the processor.
        while not taken or taken[-1] <= 4 * MIB - 256 * KIB:
            assert len(taken) < 50, taken
            session, transport = connected(gate)
            data = upload(2)
            rest, is_paused = await feed(session, transport, data)
            assert is_paused
            taken.append(len(data) - len(rest))
            while rest:
                await eventually(lambda stream=transport: not stream.is_paused)
                rest, _ = await feed(session, transport, rest)
            session.connection_lost(None)
    assert taken[-1] <= 5 * MIB


async def test_a_handler_that_waits_continues_before_more_than_a_megabyte_is_read() -> None:
    turns = Turns()
    async with gate_for(turns) as gate:
        session, transport = connected(gate)
        data = Request(2, b"turns.wait", b"\x90", codec=1).encode() + upload(4)
        rest, is_paused = await feed(session, transport, data)
        assert is_paused
        assert MIB < len(data) - len(rest) <= MIB + READ_BUFFER
        assert not transport.is_paused
        await feed(session, transport, rest)
        assert turns.goes_on == 1
        session.connection_lost(None)


async def test_a_read_that_found_less_than_there_was_room_for_ends_no_turn() -> None:
    async with gate_for(Turns()) as gate:
        session, transport = connected(gate)
        for id in range(2, 20, 2):
            request = Request(id, b"turns.wait", b"\x90", codec=1).encode()
            assert await feed(session, transport, request) == (b"", False)
        session.connection_lost(None)


async def test_a_long_payload_has_one_short_read_in_a_turn_that_has_handled_enough() -> None:
    async with gate_for(Turns()) as gate:
        served = ServedRpcx(gate)
        session, transport = served.session, served.transport
        data = call("turns", "take", b"x" * (8 * MIB)).encode()
        rest = data[fill(session, data[:MIB]) :]
        rest = rest[fill(session, rest[:MIB]) :]
        use_up_the_turn()
        # A peer of another connection could have sent as much.
        assert len(session.get_buffer(-1)) == STREAM_SHARE
        rest = rest[fill(session, rest) :]
        assert transport.is_paused
        await eventually(lambda: not transport.is_paused)
        session.connection_lost(None)


async def test_long_payloads_count_as_work_of_the_turn() -> None:
    async with gate_for(Turns()) as gate:
        served = ServedRpcx(gate)
        data = call("turns", "take", b"x" * (8 * MIB)).encode()
        while len(data) > 4 * MIB:
            data = data[fill(served.session, data[:MIB]) :]
        keep_the_loop(0.005)
        fill(served.session, data[:MIB])
        assert served.transport.is_paused
        served.session.connection_lost(None)


async def test_a_short_read_of_a_connection_that_has_sent_much_goes_after_reads_of_others() -> None:
    turns = Turns()
    order: list[str] = []
    async with gate_for(turns) as gate:
        for _ in range(100):
            turns.noted.clear()
            busy, light = (ServedRpcx(gate).session for _ in range(2))
            for _ in range(3):
                fill(busy, call("turns", "note", "x" * 30_000).encode())
            # Behind a stall of the machine some are put off, and would keep their place.
            await eventually(lambda: len(turns.noted) == 3)
            use_up_the_turn()
            for session, text in ((busy, "busy"), (light, "light")):
                fill(session, call("turns", "note", text).encode())
                assert session.is_put_off
            await eventually(lambda: len(turns.noted) == 5)
            order = turns.noted[3:]
            for session in (busy, light):
                session.connection_lost(None)
            # A machine that took away the processor inside the light slice has left nothing of it: once more.
            if order == ["light", "busy"]:
                break
    assert order == ["light", "busy"]


async def test_a_connection_that_is_lost_during_the_turn_of_others_is_not_read() -> None:
    async with gate_for(Turns()) as gate:
        session, transport = connected(gate)
        fed(session, transport, upload(2))
        assert transport.is_paused
        session.connection_lost(None)
        await asyncio.sleep(0)
        assert transport.is_paused


async def test_pieces_that_one_turn_of_the_loop_writes_are_few() -> None:
    """Requests that come meanwhile are read between any two of them."""
    async with gate_for(Turns()) as gate:
        session, transport = connected(gate)
        await feed(session, transport, Credit(0, 16 * MIB).encode())
        await feed(session, transport, Request(2, b"turns.give", b"").encode())
        lengths = [len(transport.written)]
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def tick() -> None:
            # Runs once in each turn of the loop.
            lengths.append(len(transport.written))
            if len(lengths) > 12:
                done.set_result(None)
                return
            fed(session, transport, Request(2 * len(lengths), b"turns.take", b"").encode())
            loop.call_soon(tick)

        loop.call_soon(tick)
        await done
        assert lengths[-1] > 8 * STREAM_SHARE
        # Two rounds, one more with each of the flushes of a read, and small answers.
        written = [later - earlier for earlier, later in itertools.pairwise(lengths)]
        assert max(written) <= 4 * (STREAM_SHARE + KIB)
        session.connection_lost(None)


async def written_in_each_turn(session: Session, transport: StillTransport, requests: bytes) -> list[int]:
    """Feed requests; return the bytes that each of the next thirty turns of the loop writes."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    lengths = [len(transport.written)]

    def tick() -> None:
        # Runs once in each turn of the loop.
        lengths.append(len(transport.written))
        if len(lengths) > 30:
            done.set_result(None)
        else:
            loop.call_soon(tick)

    loop.call_soon(tick)
    await feed(session, transport, requests)
    await done
    return [later - earlier for earlier, later in itertools.pairwise(lengths)]


#: The time of reads in a turn of the loop.
TURN_SECONDS = 0.004

#: Eight requests whose answers have 64 KiB.
REQUESTS = b"".join(Request(id, b"turns.give_some", b"").encode() for id in range(2, 18, 2))


async def test_answers_of_less_than_a_megabyte_in_all_leave_in_one_turn_of_the_loop() -> None:
    async with gate_for(Turns()) as gate:
        # A machine that takes the processor away uses up a turn, and the remaining requests wait for the next one.
        for _ in range(20):
            began = time.perf_counter()
            session, transport = connected(gate)
            await feed(session, transport, Credit(0, 16 * MIB).encode())
            written = await written_in_each_turn(session, transport, REQUESTS)
            session.connection_lost(None)
            assert sum(written) > 8 * 64 * KIB
            if max(written) == sum(written):
                return
            assert time.perf_counter() > began + TURN_SECONDS, written
        raise AssertionError(written)


async def test_answers_wait_for_a_later_turn_while_the_transport_has_not_taken_those_before() -> None:
    async with gate_for(Turns()) as gate:
        session, transport = connected(gate)
        await feed(session, transport, Credit(0, 16 * MIB).encode())
        with transport.something_untaken():
            written = await written_in_each_turn(session, transport, REQUESTS)
        assert sum(written) > 8 * 64 * KIB
        assert max(written) <= STREAM_SHARE + KIB
        session.connection_lost(None)


async def test_a_transport_that_met_an_error_is_given_nothing_more() -> None:
    """The error is reported in a later turn of the loop; until then a waiting message counts as never sent."""
    async with gate_for(Turns()) as gate:
        session, transport = connected(gate)
        await feed(session, transport, Credit(0, 16 * MIB).encode())
        writes: list[int] = []

        def fail(parts: Any) -> None:
            writes.append(sum(map(len, parts)))
            transport.abort()
            asyncio.get_running_loop().call_soon(session.connection_lost, ConnectionResetError())

        transport.writelines = fail  # type: ignore[method-assign]
        await feed(session, transport, REQUESTS)
        for _ in range(10):
            await asyncio.sleep(0)
        (size,) = writes
        assert size <= STREAM_SHARE + KIB


async def test_a_caller_continues_before_a_megabyte_after_its_answer_is_read() -> None:
    server = RecordingSession()
    listener = await TRANSPORT.listen(Address("memory", path="turns"), lambda: server, ListenOptions())
    limits = Limits(stream_window_bytes=4 * MIB)
    async with Client("memory://turns", config=ClientConfig(limits=limits)) as client:
        stream = client.stream("turns.stream")
        opened = asyncio.ensure_future(stream.receive())
        await server.until_event("made")
        server.transport.write(opening(True))
        await server.until(lambda: b"turns.stream" in server.received)
        server.transport.write(Data(1, b"\xc0", codec=1).encode())
        await opened

        async def look_behind_a_call() -> list[Any]:
            await client.call("turns.call")
            # Once the caller continues: code that waits for the caller runs a turn later.
            return await stream.receive_many()

        looking = asyncio.ensure_future(look_behind_a_call())
        await server.until(lambda: b"turns.call" in server.received)
        message = Data(1, b"\xc5\x40\x00" + bytes(16 * KIB), codec=1).encode()
        server.transport.writelines([answer(3, b"\xc0", codec=1), message * 100])
        assert len(await looking) <= (MIB + READ_BUFFER) // len(message)
        await stream.aclose()
        server.transport.abort()
    listener.close()
