"""The end of a connection that holds its protocol: drain, breach, close."""

from fastrpc import Limits, ServerConfig
from fastrpc_harness.line_wire import LineWire
from tests.support.kept_connection import gate_for
from tests.support.lines import LineTalk, line_talk, lines, link_of, said
from tests.support.shop import Shop
from tests.support.waiting import eventually

PACK = b'shop.pack "apple"\n'
PRICE = b'shop.price "apple"\n'


async def test_a_drain_serves_calls_and_closes_when_none_arrives_for_a_while() -> None:
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


async def test_a_peer_is_told_of_a_drain_before_the_connection_closes() -> None:
    shop = Shop()
    async with line_talk(shop, says_goodbye=True) as connection:
        await connection.begun()
        connection.engine.begin_drain(0, "the house closes")
        assert (connection.engine.has_drained, connection.engine.is_at_rest) == (False, False)
        # Sent before the peer had read it.
        await connection.give(PRICE)
        await eventually(lambda: said(connection) == ["0 LEAVING the house closes", "2 OK 5"])
        shop.go_on.set()
        await eventually(lambda: len(said(connection)) == 3)
        assert not connection.engine.has_drained
        await connection.give(b"bye\n")
        assert connection.engine.has_drained
        connection.look(2)
        assert (connection.is_over, said(connection)[0]) == (True, "0 CLOSED 0")


async def test_a_peer_that_knows_of_a_long_drain_keeps_its_calls_after_it() -> None:
    shop = Shop()
    async with line_talk(shop, says_goodbye=True) as connection:
        await connection.begun()
        connection.engine.begin_drain(0)
        connection.look(3_600)
        assert (connection.engine.leaving.ignores_input, connection.is_over) == (False, False)
        connection.engine.end_calls("the house closes")
        await eventually(lambda: "1 UNAVAILABLE the house closes" in said(connection))


async def test_a_close_has_its_reason_as_the_last_words() -> None:
    async with line_talk(says_goodbye=True) as connection:
        connection.engine.close(11, "no room")
        connection.engine.close(0, "again")
        assert (connection.is_over, said(connection)) == (True, ["0 CLOSED 11 no room"])


async def test_one_connection_too_many_is_told_why() -> None:
    async with line_talk(config=ServerConfig(limits=Limits(connections=1)), says_goodbye=True) as first:
        second = LineTalk(first.gate, ServerConfig(), says_goodbye=True)
        text = "the server has 1 connections already (Limits.connections)"
        assert (second.is_over, said(second)) == (True, [f"0 CLOSED 11 {text}"])
        second.lose()


async def test_an_internal_error_has_last_words() -> None:
    async with line_talk(says_goodbye=True) as connection:
        # No number.
        await connection.give(b"cancel x\n")
        await eventually(lambda: said(connection) == ["0 CLOSED 10 internal error"])
        assert connection.is_over


async def test_answers_that_wait_for_credit_hold_no_drain_up_once_the_connection_is_closed() -> None:
    async with line_talk(has_window=True) as connection:
        await connection.give(PRICE)
        assert (connection.engine.stats()["buffered"], connection.engine.has_drained) == (7, False)
        # A closed link pumps no more: the answer never leaves.
        connection.engine.close()
        assert (connection.engine.stats()["buffered"], connection.engine.has_drained) == (0, True)


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
