"""The wire of a protocol in Python: parts outside the protocol come with its link."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from fastrpc import Client, Keepalive, Limits, Memory, ServerConfig, Timeouts, current_call
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.link import Link
from fastrpc._core.server.python_wire import PythonWire
from fastrpc._core.server.served_call import ServerCall
from fastrpc.auth import Identity, StaticTokens
from fastrpc.errors import RemoteProtocolError
from fastrpc.protocols.base import Match, ServerParts, linked, register
from fastrpc_harness.checking import check
from tests.support.blocking import keep_the_loop
from tests.support.kept_connection import gate_for
from tests.support.lines import link_of
from tests.support.peer_writing import write_to
from tests.support.served import served
from tests.support.shop import Shop
from tests.support.waiting import eventually


class Pipe(PythonWire):
    """Each byte that comes calls `shop.price`; an answer is a byte."""

    def __init__(self, *, excludes_http: bool = False) -> None:
        super().__init__("pipe", excludes_http=excludes_http)
        self.calls: list[ServerCall] = []

    def receive_data(self, data: bytes) -> int:
        for byte in data:
            method, argument = ("shop.price", b'["apple"]') if byte == 33 else ("shop.pack", b'["apple"]')
            self.begin(method=method, payload=argument, codec="json", one_way=byte == ord("1"))
        return len(data)

    def write_answer(self, call: ServerCall, payload: bytes) -> None:
        self.send(b"+")

    def write_failure(self, call: ServerCall, failure: Failure) -> None:
        self.send(b"-")

    def hold(self, call: ServerCall) -> None:
        self.calls.append(call)


class SlowPipe(Pipe):
    """Begins with `#`; `_` takes longer than a turn of the loop, `.` no time, and `x` cancels the first call."""

    def __init__(self) -> None:
        super().__init__()
        #: How often a turn ended before all that had come.
        self.ended_turns = 0
        self.received = b""

    def receive_data(self, data: bytes) -> int:
        self.received += data
        for at, byte in enumerate(data):
            if byte == ord("_"):
                keep_the_loop(0.02)
            elif byte == ord("x"):
                self.gate.cancel_call(self.calls[0])
            elif byte not in b"#.":
                super().receive_data(data[at : at + 1])
            if self.turn_is_over():
                self.ended_turns += at + 1 < len(data)
                return at + 1
        return len(data)


class Greeter(Pipe):
    """Speaks first: its peers may be silent for as long as they like."""

    def connection_made(self) -> None:
        self.send(b"*")
        self.opened()


class Ticker(Pipe):
    """Sends unasked, which its use of the connection is."""

    def tick(self) -> None:
        self.send(b"*")
        self.note_use()


class Broken(Pipe):
    """Cannot write, and takes more than it received."""

    def receive_data(self, data: bytes) -> int:
        return 7 if data == b"$" else super().receive_data(data)

    def write_answer(self, call: ServerCall, payload: bytes) -> None:
        raise ZeroDivisionError("no answer")

    def write_failure(self, call: ServerCall, failure: Failure) -> None:
        raise ZeroDivisionError("no failure")


class Strange(Pipe):
    """Does not know `#`."""

    has_refused = False

    def receive_data(self, data: bytes) -> int:
        if data == b"#":
            self.has_refused = True
            raise RemoteProtocolError("a pipe has no #")
        return super().receive_data(data)


class Unborn(Pipe):
    """Fails as it is connected."""

    def connection_made(self) -> None:
        raise ZeroDivisionError("no begin")


class Timed(Pipe):
    """Looks at the time when it has to."""

    def check_at(self, now: int) -> int:
        if self.calls:
            raise ZeroDivisionError("no time")
        return 0


class Counted(Pipe):
    """Has a state from its begin to its end."""

    states: ClassVar[list[str]] = []

    def connection_made(self) -> None:
        self.states.append("made")

    def connection_lost(self) -> None:
        self.states.append("lost")


class Strict(Pipe):
    """No request begins as one of HTTP."""

    def __init__(self) -> None:
        super().__init__(excludes_http=True)


class Pausing(Pipe):
    """Reads nothing more after a byte `p`."""

    def receive_data(self, data: bytes) -> int:
        super().receive_data(data.replace(b"p", b""))
        if b"p" in data:
            self.hold_back(True)
        return len(data)


WIRES = {
    "greeter": Greeter,
    "ticker": Ticker,
    "slow pipe": SlowPipe,
    "pipe": Pipe,
    "broken pipe": Broken,
    "pausing pipe": Pausing,
    "strict pipe": Strict,
    "strange pipe": Strange,
    "unborn pipe": Unborn,
    "timed pipe": Timed,
    "counted pipe": Counted,
}
BEGINS = {"slow pipe": b"#", "pipe": b"!?1"}


def engine_of(kind: type[Pipe]) -> Any:
    def engine(parts: ServerParts) -> Link:
        return linked(kind(), parts)

    return engine


def detector_of(name: str) -> Any:
    return lambda data: Match.YES if data[:1] in BEGINS.get(name, b"") else Match.NO


for _name, _kind in WIRES.items():
    register(_name, detector_of(_name), engine_of(_kind))
CONFIG = ServerConfig(protocols=("native", "pipe", "slow pipe"))


def wire_of(target: Any) -> Any:
    [link] = target.server._gate.engines
    return link.wire


@asynccontextmanager
async def alone(protocol: str, timeouts: Timeouts, **options: Any) -> AsyncIterator[Any]:
    """Yield the wire of a connection, and its peer, which has sent nothing."""
    settings = {"memory": options.pop("memory")} if "memory" in options else {}
    keepalive = Keepalive(interval=None, timeout=80_000)
    config = ServerConfig(protocols=(protocol,), timeouts=timeouts, keepalive=keepalive, **settings)
    async with served(Shop, scheme="tcp", config=config, **options) as target:
        reader, writer = await open_pipe(target)
        await eventually(lambda: target.server._gate.engines)
        wire = wire_of(target)
        wire.peer = reader, writer
        yield wire
        writer.close()


def look(wire: Any, seconds: float) -> None:
    """Let so much time have passed since now."""
    check(wire.link, time.monotonic_ns() + int(seconds * 1e9))


async def open_pipe(target: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    [listener] = target.server._listening.listeners
    return await asyncio.open_connection(listener.address.host, listener.address.port)


async def test_a_server_speaks_the_new_protocol_next_to_native() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target, Client(target) as client:
        reader, writer = await open_pipe(target)
        write_to(writer, b"!!")
        assert await reader.readexactly(2) == b"++"
        assert await client.call(Shop.price, "apple") == 5
        writer.close()
        await eventually(lambda: len(target.server._gate.engines) == 1)


async def test_calls_under_way_are_counted_and_ended_with_the_connection() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target:
        _, writer = await open_pipe(target)
        write_to(writer, b"???")
        await eventually(lambda: target.server.stats()["live"]["calls"] == 3)
        [link] = target.server._gate.engines
        assert (link.stats()["calls"], link.has_drained, len(link.wire.calls)) == (3, False, 3)
        writer.transport.abort()
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)


async def test_its_calls_end_with_a_server_that_closes() -> None:
    async with served(Shop, scheme="tcp", config=CONFIG) as target:
        reader, writer = await open_pipe(target)
        write_to(writer, b"?")
        await eventually(lambda: target.server.stats()["live"]["calls"] == 1)
        [link] = target.server._gate.engines
        link.end_calls("it is time")
        assert await reader.readexactly(1) == b"-"
        writer.close()


async def test_a_one_way_call_is_not_answered() -> None:
    shop = Shop()
    shop.go_on.set()
    async with served(shop, scheme="tcp", config=CONFIG) as target:
        reader, writer = await open_pipe(target)
        write_to(writer, b"1!")
        assert await reader.readexactly(1) == b"+"
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)
        assert (shop.started, wire_of(target).calls) == (2, [])
        writer.close()
        assert await reader.read() == b""


async def test_a_wire_and_a_connection_outlive_their_link() -> None:
    class Keeping(Shop):
        kept: Any = None

        async def pack(self, item: str) -> str:
            Keeping.kept = current_call().connection
            return await super().pack(item)

    async with served(Keeping, scheme="tcp", config=CONFIG) as target:
        _, writer = await open_pipe(target)
        write_to(writer, b"?")
        await eventually(lambda: Keeping.kept is not None)
        wire = wire_of(target)
        writer.transport.abort()
        await eventually(lambda: not target.server._gate.engines)
        gc.collect()
        assert wire.link is None
        assert Keeping.kept.describe_peer() is not None
        Keeping.kept.abandon()
        wire.send(b"for nobody")
        wire.hold_back(True)
        wire.schedule_check(1)
        wire.opened()
        wire.note_use()
        assert (wire.unsent_bytes(), wire.taken_bytes(), wire.turn_is_over()) == (0, 0, False)
        held = len(wire.calls)
        wire.begin(method="shop.price", payload=b'["apple"]', codec="json")
        assert len(wire.calls) == held


async def test_a_peer_that_says_nothing_is_cut_at_the_end_of_its_opening() -> None:
    async with alone("pipe", Timeouts(handshake=5, idle=None)) as wire:
        look(wire, 4)
        assert not wire.link.is_closed
        look(wire, 6)
        assert wire.link.is_closed


async def test_received_bytes_end_the_opening_where_all_may_call() -> None:
    async with alone("slow pipe", Timeouts(handshake=5, idle=None)) as wire:
        write_to(wire.peer[1], b"#")
        await eventually(lambda: wire.received)
        look(wire, 60)
        assert not wire.link.is_closed


async def test_an_opening_lasts_until_a_caller_is_let_in_where_callers_are_asked() -> None:
    tokens = StaticTokens({"secret": Identity("ada")})
    async with alone("slow pipe", Timeouts(handshake=5, idle=None), authenticate=tokens) as wire:
        write_to(wire.peer[1], b"#!")
        assert await wire.peer[0].readexactly(1) == b"-"
        look(wire, 6)
        assert wire.link.is_closed


async def test_a_wire_that_speaks_first_ends_the_opening_itself() -> None:
    async with alone("greeter", Timeouts(handshake=5, idle=None)) as wire:
        look(wire, 60)
        assert not wire.link.is_closed
        assert await wire.peer[0].readexactly(1) == b"*"


async def test_a_connection_that_a_wire_uses_does_not_rest() -> None:
    async with alone("ticker", Timeouts(handshake=None, idle=50)) as wire:
        before = time.monotonic_ns()
        await eventually(lambda: time.monotonic_ns() > before + 100_000_000)
        wire.tick()
        await eventually(lambda: wire.unsent_bytes() == 0)
        # So long after its begin it would have rested.
        check(wire.link, before + 50_050_000_000)
        assert not wire.link.is_closed
        look(wire, 51)
        assert wire.link.is_closed


@pytest.mark.parametrize("method", ["receive_data", "write_answer", "write_failure"])
def test_a_method_that_is_left_out_raises(method: str) -> None:
    wire = PythonWire("none")
    arguments = (b"",) if method == "receive_data" else (None, None)
    with pytest.raises(NotImplementedError, match=rf"^PythonWire does not implement {method}\(\)$"):
        getattr(wire, method)(*arguments)


async def test_a_wire_is_held_by_one_link() -> None:
    config = ServerConfig()
    async with gate_for(Shop, config=config) as gate:
        wire = Pipe()
        before = wire.link
        link = link_of(gate, wire, config)
        assert (before, wire.link) == (None, link)
        with pytest.raises(RuntimeError, match="held by one link"):
            link_of(gate, wire, config)


@pytest.mark.parametrize("protocol", ["pipe", "strict pipe"])
async def test_a_client_of_http_is_warned_of_where_no_request_begins_so(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with alone(protocol, Timeouts(idle=None)) as wire:
        write_to(wire.peer[1], b"GET / HTTP/1.1\r\n")
        await eventually(lambda: wire.calls)
    assert ("speaks HTTP, and this port speaks" in caplog.text) is (protocol == "strict pipe")


@pytest.mark.parametrize("sent", [b"!", b"?", b"$"])
async def test_a_wire_that_fails_closes_its_connection(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with alone("broken pipe", Timeouts(idle=None)) as wire:
        reader, writer = wire.peer
        write_to(writer, sent)
        if sent == b"?":
            await eventually(lambda: wire.calls)
            wire.link.end_calls("it is time")
        assert await reader.read() == b""
        await eventually(lambda: not wire.gate.engines)
    assert "internal error on a connection of" in caplog.text
    assert ("consumed 7 of 1 bytes" if sent == b"$" else "ZeroDivisionError") in caplog.text


async def test_a_breach_of_the_protocol_ends_the_connection_after_its_calls() -> None:
    async with alone("strange pipe", Timeouts(idle=None)) as wire:
        reader, writer = wire.peer
        write_to(writer, b"?")
        await eventually(lambda: wire.calls)
        write_to(writer, b"#")
        await eventually(lambda: wire.has_refused)
        wire.link.end_calls("it is time")
        assert await reader.read() == b"-"


async def test_a_wire_that_fails_as_it_is_connected_closes_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = ServerConfig(protocols=("unborn pipe",))
    async with served(Shop, scheme="tcp", config=config) as target:
        reader, writer = await open_pipe(target)
        assert await reader.read() == b""
        writer.close()
    assert "ZeroDivisionError: no begin" in caplog.text


async def test_a_wire_that_fails_at_an_instant_closes_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with alone("timed pipe", Timeouts(idle=None)) as wire:
        write_to(wire.peer[1], b"?")
        await eventually(lambda: wire.calls)
        look(wire, 1)
        assert await wire.peer[0].read() == b""
    assert "ZeroDivisionError: no time" in caplog.text


async def test_a_connection_too_many_has_neither_begin_nor_end_for_its_wire() -> None:
    Counted.states.clear()
    config = ServerConfig(protocols=("counted pipe",), limits=Limits(connections=1))
    async with served(Shop, scheme="tcp", config=config) as target:
        first = await open_pipe(target)
        await eventually(lambda: Counted.states)
        surplus = await open_pipe(target)
        assert await surplus[0].read() == b""
        surplus[1].close()
        await eventually(lambda: len(target.server._gate.engines) == 1)
        first[1].close()
        await eventually(lambda: not target.server._gate.engines)
    assert Counted.states == ["made", "lost"]


async def test_a_pause_of_a_wire_outlasts_output_that_the_peer_takes() -> None:
    async with alone("pausing pipe", Timeouts(idle=None), memory=Memory(send_soft=16_384)) as wire:
        reader, writer = wire.peer
        write_to(writer, b"p")
        await eventually(lambda: not wire.link.transport.is_reading())
        # A flush, after which the link looks whether to read on.
        wire.send(b"*")
        assert await reader.readexactly(1) == b"*"
        assert not wire.link.transport.is_reading()
        write_to(writer, b"!")
        wire.hold_back(False)
        assert await reader.readexactly(1) == b"+"


async def test_a_call_does_not_start_while_its_cancel_waits_for_a_turn_of_the_loop() -> None:
    shop = Shop()
    async with served(shop, scheme="tcp", config=CONFIG) as target:
        reader, writer = await open_pipe(target)
        # The watch for stalls begins with the first read.
        write_to(writer, b"#!")
        assert await reader.readexactly(1) == b"+"
        wire = wire_of(target)
        for _ in range(20):
            started = shop.started
            keep_the_loop(0.1)
            ended = wire.ended_turns
            wire.calls.clear()
            write_to(writer, b"?_" + b"." * 1_000 + b"x")
            await eventually(lambda: wire.calls)
            assert await reader.readexactly(1) == b"-"
            assert wire.ended_turns > ended
            if shop.started == started:
                break
        else:
            pytest.fail("each call began ahead of its cancel")
        writer.close()
