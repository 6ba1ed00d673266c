"""A connection that holds its protocol, with a small one: deadlines, cancels, drains and limits come from the link."""

import asyncio
import gc
import time

import pytest

from fastrpc import Keepalive, Memory, ServerConfig, Timeouts
from fastrpc._core.io.session import Session
from fastrpc._core.server.openings import Openings
from fastrpc.auth import Identity
from fastrpc_harness.checking import check
from fastrpc_harness.line_wire import LineWire
from tests.support.kept_connection import gate_for
from tests.support.lines import line_talk, lines, link_of, said
from tests.support.shop import Shop
from tests.support.waiting import eventually

SECOND = 1_000_000_000
PACK = b'shop.pack "apple"\n'
PRICE = b'shop.price "apple"\n'


async def test_calls_of_one_read_are_answered_in_it() -> None:
    async with lines() as connection:
        await connection.give(PRICE + b'shop.price "fig"\n' + b"shop.none 1\n")
        await eventually(lambda: len(said(connection)) == 3)
        first, second, third = said(connection)
        assert (first, second) == ("1 OK 5", "2 OK 3")
        assert third.startswith("3 UNIMPLEMENTED ")


@pytest.mark.parametrize("size", [1, 3, 7])
async def test_any_cut_of_the_bytes_gives_the_same_answers(size: int) -> None:
    async with lines() as connection:
        data = PRICE + b'shop.price "fig"\n'
        for at in range(0, len(data), size):
            await connection.give(data[at : at + size])
            await eventually(lambda: not connection.session.is_put_off)
        await eventually(lambda: said(connection) == ["1 OK 5", "2 OK 3"])


async def test_a_call_ends_at_the_deadline_that_its_caller_states() -> None:
    shop = Shop()
    async with lines(shop=shop) as connection:
        await connection.give(b'shop.pack@20 "apple"\n')
        await eventually(lambda: said(connection))
        assert said(connection)[0].startswith("1 DEADLINE_EXCEEDED ")
        await eventually(lambda: shop.cancelled == 1)


async def test_a_call_is_cancelled_by_a_protocol_that_can() -> None:
    shop = Shop()
    async with lines(shop=shop) as connection:
        await connection.begun()
        await connection.give(b"cancel 1\n")
        await eventually(lambda: shop.cancelled == 1 and said(connection))
        assert said(connection)[0].startswith("1 CANCELLED ")


async def test_output_that_waits_in_the_wire_counts_until_it_leaves() -> None:
    async with line_talk(has_window=True) as connection:
        await connection.give(PRICE + b'shop.price "fig"\n')
        served = connection.engine.connection
        # On a busy machine the second line is put off until the next turn, and counts as input until then.
        await eventually(lambda: served.held_bytes == len("1 OK 5\n2 OK 3\n"))
        assert said(connection) == []
        assert not connection.engine.is_at_rest
        await connection.give(b"credit 7\n")
        assert (said(connection), served.held_bytes) == (["1 OK 5"], 7)
        stats = connection.engine.stats()
        assert (stats["buffered"], stats["credit"]) == (7, 0)
        await connection.give(b"credit 100\n")
        assert (said(connection), served.held_bytes) == (["1 OK 5", "2 OK 3"], 0)
        assert (connection.engine.stats()["credit"], connection.engine.is_at_rest) == (93, True)


async def test_a_peer_that_gives_no_credit_is_cut_off() -> None:
    timeouts = Timeouts(idle=None)
    config = ServerConfig(timeouts=timeouts, keepalive=Keepalive(interval=5.0, timeout=5.0))
    async with line_talk(has_window=True, config=config) as connection:
        await connection.give(PRICE)
        connection.look(1)
        connection.look(12)
        assert (connection.is_over, said(connection)) == (True, [])


async def test_input_waits_until_the_peer_takes_the_output() -> None:
    async with lines(memory=Memory(send_soft=16_384)) as connection:
        connection.transport.untaken = 65_536
        await connection.give(PRICE)
        await eventually(lambda: connection.transport.is_paused)
        connection.transport.untaken = 0
        await eventually(lambda: not connection.transport.is_paused)
        assert connection.engine.connection.held_bytes == 0


async def test_calls_that_are_cut_off_are_answered() -> None:
    shop = Shop()
    async with lines(shop=shop) as connection:
        await connection.begun()
        connection.engine.end_calls("the house closes")
        await eventually(lambda: said(connection) == ["1 UNAVAILABLE the house closes"])
        await eventually(lambda: shop.cancelled == 1)


async def test_an_expired_identity_is_no_longer_known() -> None:
    async with lines() as connection:
        connection.engine.identify(Identity("ada"), 50.0)
        await connection.give(PRICE)
        assert connection.engine.connection.identity == Identity("ada")
        check(connection.engine, time.monotonic_ns() + 60 * SECOND)
        assert connection.engine.connection.is_expired


async def test_a_protocol_without_pushes_says_so() -> None:
    async with lines() as connection:
        assert connection.engine.peer_takes is None
        await connection.begun()
        [call] = connection.engine.wire.calls.values()
        with pytest.raises(NotImplementedError, match="protocol lines has no pushes"):
            connection.engine.push(call)


async def test_the_end_of_the_stream_stops_calls_and_frees_the_link() -> None:
    shop = Shop()
    async with lines(shop=shop) as connection:
        await connection.begun()
        served, wire = connection.engine.connection, connection.engine.wire
        connection.lose()
        await eventually(lambda: shop.cancelled == 1)
        assert wire.calls == {}
        del connection.engine, connection.session
        gc.collect()
        served.note_drain()
        assert (served.is_closed, served.held_bytes) == (True, 0)
        connection.lose = lambda: None  # type: ignore[method-assign]


async def test_a_link_is_initialised_once() -> None:
    config = ServerConfig(timeouts=Timeouts(), keepalive=Keepalive())
    async with gate_for(Shop, config=config) as gate:
        link = link_of(gate, LineWire(), config)
        Session(link, loop=asyncio.get_running_loop())
        with pytest.raises(RuntimeError, match="an engine is initialised once"):
            link.__init__(  # type: ignore[misc]
                LineWire(),
                gate=gate,
                openings=Openings(gate, 1),
                timeouts=config.timeouts,
                keepalive=config.keepalive,
            )
