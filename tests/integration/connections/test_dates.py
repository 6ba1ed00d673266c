"""Received bytes have the date of the last instant at which their socket was known to be empty."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastrpc._core.io.engine import PythonEngine
from fastrpc._core.io.tls_layer import TLSLayer
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.loop.turns import SlicedWork
from fastrpc.protocols.base import StreamSession
from fastrpc.tls.ends import ServerEnd
from fastrpc_harness.alarm import arm, date_of
from tests.support.certificates import Authority
from tests.support.waiting import eventually

#: Longer than a turn that is marked for this, and far shorter than a stall of the loop.
HELD_NS = 5_000_000

#: The most encrypted bytes that one read takes.
READ_BYTES = 65_536


class Noting(PythonEngine):
    """Notes date and instant of received bytes, after `handle` has run."""

    def __init__(self) -> None:
        self.reads: list[tuple[bytes, int, int]] = []
        self.handle: Callable[[], None] = lambda: None

    def receive_data(self, data: bytes) -> int:
        at = time.monotonic_ns()
        self.handle()
        self.reads.append((data, date_of(self), at))
        return len(data)


@contextlib.asynccontextmanager
async def reading() -> AsyncIterator[tuple[Noting, socket.socket]]:
    """Yield an engine whose bytes come from a socket."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    engine = Noting()
    transport, _ = await loop.create_connection(lambda: StreamSession(engine, loop=loop), sock=ours)
    try:
        yield engine, theirs
    finally:
        transport.abort()
        theirs.close()


def hold() -> int:
    """Hold the loop as a slow handler does, after which its turns are marked; return the begin of the marked turn."""
    since = time.monotonic_ns()
    while time.monotonic_ns() < since + HELD_NS:
        pass
    arm(loop_state(asyncio.get_running_loop()).turns.polls, since, is_read=True)
    return since


async def test_the_first_bytes_after_a_rest_come_now() -> None:
    async with reading() as (engine, peer):
        await asyncio.sleep(0.1)
        sent = time.monotonic_ns()
        peer.send(b"x")
        await eventually(lambda: engine.reads)
        ((_, date, at),) = engine.reads
        assert sent <= date <= at


async def test_bytes_that_come_while_another_connection_holds_the_loop_are_dated_before_they_came() -> None:
    began = 0
    async with reading() as (first, its_peer), reading() as (other, others_peer):

        def send_and_hold() -> None:
            nonlocal began
            others_peer.send(b"y")
            began = hold()

        first.handle = send_and_hold
        its_peer.send(b"x")
        await eventually(lambda: other.reads)
        ((_, date, at),) = other.reads
        assert first.reads[0][1] <= date <= began < at


async def test_bytes_that_come_while_their_own_connection_holds_the_loop_are_dated_before_the_hold() -> None:
    began = 0
    async with reading() as (engine, peer):

        def send_and_hold() -> None:
            nonlocal began
            engine.handle = lambda: None
            peer.send(b"y")
            began = hold()

        engine.handle = send_and_hold
        peer.send(b"x")
        await eventually(lambda: len(engine.reads) == 2)
        _, (_, date, at) = engine.reads
        assert date <= began < began + HELD_NS <= at


async def test_time_for_which_an_engine_holds_its_peer_back_does_not_count() -> None:
    async with reading() as (engine, peer):
        engine.hold_back(True)
        peer.send(b"x")
        await asyncio.sleep(0.05)
        released = time.monotonic_ns()
        engine.hold_back(False)
        await eventually(lambda: engine.reads)
        ((_, date, _),) = engine.reads
        assert date >= released


async def test_no_date_is_before_the_read_that_emptied_the_socket() -> None:
    async with reading() as (engine, peer), reading() as (busy, its_peer):
        busy.handle = hold
        for number in range(50):
            its_peer.send(b"x")
            peer.send(b"%d" % number)
            await eventually(lambda count=number: len(busy.reads) > count and len(engine.reads) > count)  # type: ignore[misc]
        for (_, _, before), (_, date, at) in zip(engine.reads, engine.reads[1:], strict=False):
            # The instant of a read is noted before the engine's.
            assert before - HELD_NS <= date <= at


async def test_bytes_that_come_while_their_connection_waits_for_its_turn_are_dated_before_they_came() -> None:
    async with contextlib.AsyncExitStack() as stack:
        ends = [await stack.enter_async_context(reading()) for _ in range(4)]
        (last, its_peer), sent = ends[-1], 0

        def begin_and_hold() -> None:
            # Bytes that the next turns handle in slices come before their marks.
            SlicedWork(loop_state(asyncio.get_running_loop()).turns, lambda: False).begin()
            hold()

        def send_and_hold() -> None:
            nonlocal sent
            last.handle = lambda: None
            sent = time.monotonic_ns()
            its_peer.send(b"y")
            hold()

        # The first read takes the whole turn, and each further read takes the slices of a following turn. The polls of
        # these turns report nothing.
        for engine, _ in ends:
            engine.handle = hold
        ends[0][0].handle, last.handle = begin_and_hold, send_and_hold
        for _, peer in ends:
            peer.send(b"x")
        await eventually(lambda: len(last.reads) == 2)
        assert last.reads[1][1] <= sent


class Below(TLSLayer, asyncio.BufferedProtocol):
    """TLS as transports use it."""


class TLSWire:
    """The other end of a socket, which speaks TLS."""

    def __init__(self, end: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = end
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    async def shake_hands(self) -> None:
        loop = asyncio.get_running_loop()
        is_open = False
        while not is_open:
            try:
                self._tls.do_handshake()
                is_open = True
            except ssl.SSLWantReadError:
                pass
            await loop.sock_sendall(self._socket, self._outgoing.read())
            if not is_open:
                self._incoming.write(await loop.sock_recv(self._socket, READ_BYTES))

    def send_small(self, size: int) -> None:
        """Send the given number of bytes on the line, in records with 32 bytes of data."""
        while self._outgoing.pending < size:
            self._tls.write(bytes(32))
        assert self._socket.send(self._outgoing.read(size)) == size


async def test_encrypted_bytes_are_dated_by_those_that_the_socket_held(tmp_path: Path) -> None:
    """Records are longer than their data: a read brings less than it took from the socket."""
    authority, loop = Authority(tmp_path), asyncio.get_running_loop()
    certificate = authority.certificate()
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
    theirs.setblocking(False)
    engine = Noting()
    layer = Below(loop, ServerEnd(certificate.tls(), agreed=(None, "fastrpc/1")))
    layer.set_protocol(StreamSession(engine, loop=loop))
    wire = TLSWire(theirs, ssl.create_default_context(cafile=str(authority.cert_file)))
    transport, _ = await loop.create_connection(lambda: layer, sock=ours)
    try:
        await wire.shake_hands()
        sent = 0

        def send_more_and_hold() -> None:
            nonlocal sent
            engine.handle = lambda: None
            hold()
            sent = time.monotonic_ns()
            wire.send_small(READ_BYTES)

        def send_and_hold() -> None:
            engine.handle = send_more_and_hold
            wire.send_small(2 * READ_BYTES)
            hold()

        engine.handle = send_and_hold
        wire.send_small(100)
        await eventually(lambda: len(engine.reads) == 4)
        (_, _, first), _, (_, rest_date, _), (_, date, _) = engine.reads
        # The first of three reads emptied no socket, the second emptied the bytes that had arrived before the first.
        assert rest_date <= first < date <= sent
    finally:
        transport.abort()
        theirs.close()
