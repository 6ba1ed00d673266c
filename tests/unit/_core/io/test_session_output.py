"""The writing half of a session: output leaves at once while it is taken, and counts for as long as it takes memory."""

import asyncio
import socket
from typing import Any

from fastrpc import ServerConfig
from fastrpc._core.io.session import Session
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc._core.server.python_wire import PythonWire
from tests.support.kept_connection import gate_for
from tests.support.lines import link_of
from tests.support.peer_writing import write_to
from tests.support.shop import Shop
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually


def kept(gate: Gate, wire: PythonWire) -> Any:
    """Return a link without a stream."""
    return link_of(gate, wire, ServerConfig())


async def test_output_waits_in_the_engine_while_the_transport_is_full() -> None:
    async with gate_for(Shop) as gate:
        engine = kept(gate, PythonWire("kept"))
        session, transport = Session(engine, loop=asyncio.get_running_loop()), StillTransport()
        session.connection_made(transport)
        session.pause_writing()
        engine.wire.send(b"later")
        await asyncio.sleep(0)
        assert (transport.written, engine.wire.unsent_bytes()) == (b"", 5)
        session.resume_writing()
        assert (transport.written, engine.wire.unsent_bytes()) == (b"later", 0)
        session.connection_lost(None)


async def test_a_long_output_counts_whole_until_its_last_byte_is_gone() -> None:
    async with gate_for(Shop) as gate:
        engine = kept(gate, PythonWire("kept"))
        session, transport = Session(engine, loop=asyncio.get_running_loop()), StillTransport()
        session.connection_made(transport)

        async def write(size: int, *, untaken: int) -> int:
            transport.untaken = untaken
            engine.wire.send(bytes(size))
            await asyncio.sleep(0)
            return held(untaken + size)

        def held(untaken: int) -> int:
            transport.untaken = untaken
            session.resume_writing()
            return bytes_held()

        assert await write(10, untaken=0) == 10
        assert await write(200_000, untaken=10) == 200_010
        assert (held(200_005), held(200_000), held(1)) == (200_005, 200_000, 200_000)
        # The transport takes the next one before the last bytes of this one are gone.
        assert await write(100_000, untaken=1_000) == 300_000
        assert (held(100_001), held(100_000), held(1)) == (300_000, 100_000, 100_000)
        assert await write(10, untaken=1) == 100_010
        assert (held(10), held(0)) == (10, 0)
        assert await write(100_000, untaken=0) == 100_000
        session.connection_lost(None)
        assert bytes_held() == 0


class Answering(PythonWire):
    """Counts the answers."""

    answers = 0

    def write_answer(self, call: Any, payload: bytes) -> None:
        self.answers += 1


async def test_a_long_output_delays_no_call_once_little_of_it_is_left() -> None:
    async with gate_for(Shop) as gate:
        engine = kept(gate, Answering("kept"))
        session, transport = Session(engine, loop=asyncio.get_running_loop()), StillTransport()
        session.connection_made(transport)
        transport.untaken = 8 << 20
        engine.wire.send(bytes(8 << 20))
        await asyncio.sleep(0)
        gate.begin(engine.connection, method="shop.price", payload=b'["apple"]', codec="json")
        for _ in range(5):
            await asyncio.sleep(0)
        assert engine.wire.answers == 0
        transport.untaken = 60_000
        session.resume_writing()
        await eventually(lambda: engine.wire.answers == 1)
        assert bytes_held() >= 8 << 20
        session.connection_lost(None)


class LosingTransport(StillTransport):
    """Takes pieces as long as its connection is not lost."""

    def writelines(self, list_of_data: Any) -> None:
        assert not self.is_aborted
        super().writelines(list_of_data)


async def test_pieces_for_a_lost_connection_are_given_to_write() -> None:
    async with gate_for(Shop) as gate:
        engine = kept(gate, PythonWire("kept"))
        session, transport = Session(engine, loop=asyncio.get_running_loop()), LosingTransport()
        session.connection_made(transport)
        for _ in range(2):
            engine.wire.send(b"small")
            engine.wire.send(bytes(100_000))
            session.resume_writing()
            transport.is_aborted = True
        assert transport.written == (b"small" + bytes(100_000)) * 2
        session.connection_lost(None)


async def test_pieces_for_a_lost_connection_harm_no_later_one() -> None:
    """asyncio of CPython 3.12.0 to 3.13.5 watched the descriptor again; the next one that had it read nothing."""
    loop: Any = asyncio.get_running_loop()
    near, far = socket.socketpair()
    descriptor = near.fileno()
    async with gate_for(Shop) as gate:
        engine = kept(gate, PythonWire("kept"))
        transport, session = await loop.create_connection(lambda: Session(engine, loop=loop), sock=near)
        far.close()
        # The first output meets the loss, the second one comes before the loop has reported it.
        for _ in range(2):
            engine.wire.send(b"small")
            engine.wire.send(bytes(100_000))
            session.resume_writing()
        assert transport.is_closing()
        await eventually(lambda: near.fileno() == -1)
    near, far = socket.socketpair()
    assert descriptor in {near.fileno(), far.fileno()}
    ends = [await asyncio.open_connection(sock=end) for end in (near, far)]
    for _, writer in ends:
        write_to(writer, b"for the next one")
        writer.write_eof()
    assert [await reader.read() for reader, _ in ends] == [b"for the next one"] * 2
    for _, writer in ends:
        writer.close()
