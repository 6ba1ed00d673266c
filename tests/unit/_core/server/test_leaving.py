"""The end of a connection that holds its protocol: drain, breach, close."""

from fastrpc import ServerConfig
from fastrpc_harness.line_wire import LineWire
from tests.support.kept_connection import gate_for
from tests.support.lines import lines, link_of, said
from tests.support.shop import Shop
from tests.support.waiting import eventually

PACK = b'shop.pack "apple"\n'
PRICE = b'shop.price "apple"\n'


async def test_a_drain_serves_calls_and_closes_when_none_came_for_a_while() -> None:
    shop = Shop()
    async with lines(shop=shop) as connection:
        await connection.begun()
        connection.engine.begin_drain(0)
        assert (connection.engine.has_drained, connection.engine.is_at_rest) == (False, False)
        await connection.give(PRICE)
        await eventually(lambda: said(connection) == ["2 OK 5"])
        shop.go_on.set()
        await eventually(lambda: connection.is_over)
        assert said(connection) == ['1 OK "packed apple"', "2 OK 5"]
        assert connection.engine.has_drained


async def test_a_part_of_a_request_is_no_rest() -> None:
    async with lines() as connection:
        assert connection.engine.is_at_rest
        await connection.give(PACK[:5])
        assert not connection.engine.is_at_rest


async def test_a_close_is_one_close() -> None:
    async with lines() as connection:
        connection.engine.close()
        connection.engine.close()
        assert (connection.is_over, connection.engine.has_drained) == (True, True)


async def test_a_breach_of_the_protocol_ends_the_connection_after_its_calls() -> None:
    shop = Shop()
    async with lines(shop=shop) as connection:
        await connection.begun()
        await connection.give(bytes(70_000))
        assert (connection.engine.leaving.ignores_input, connection.is_over) == (True, False)
        shop.go_on.set()
        await eventually(lambda: connection.is_over)
        assert said(connection) == ['1 OK "packed apple"']


async def test_a_link_without_a_stream_closes_nothing() -> None:
    config = ServerConfig()
    async with gate_for(Shop, config=config) as gate:
        link = link_of(gate, LineWire(), config)
        link.close()
        assert not link.is_closed
