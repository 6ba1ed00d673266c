"""One connection of the HTTP gateway: its life."""

import asyncio
import time
from functools import partial

import pytest

from fastrpc import HTTP, HTTPLimits, Keepalive, ServerConfig, Timeouts
from fastrpc_harness.checking import check
from tests.support.gateway_talk import GatewayTalk, connected
from tests.support.http_shop import Shop
from tests.support.http_talk import request
from tests.support.kept_requests import Place
from tests.support.socket_client import opened_socket
from tests.support.waiting import eventually

ECHO = "/shop.v1/echo"
SECOND = 1_000_000_000


async def test_a_connection_drains_with_the_answer_to_its_request() -> None:
    async with connected() as talk:
        await talk.sent(request("POST", "/shop.v1/wait", {}))
        assert talk.engine.stats()["calls"] == 1
        talk.engine.begin_drain()
        assert not talk.engine.has_drained
        talk.engine.end_calls("the server stops")
        answer = await talk.response()
        assert (answer.status, answer["connection"]) == (503, "close")
        await eventually(lambda: talk.engine.has_drained)


AGEING = ServerConfig(keepalive=Keepalive(max_age=100), timeouts=Timeouts(drain=30))


RESTING = HTTP(websocket=True, limits=HTTPLimits(idle_seconds=1_000))


async def test_a_connection_rests_once_its_one_way_call_has_ended() -> None:
    shop = Shop()
    place = Place()
    async with connected(http=RESTING, paths={"/place": place}, shop=shop) as talk:
        await talk.sent(request("POST", "/place", b""))
        begin = partial(place.last.call, "shop.v1.wait", b"{}", list, one_way=True)
        asyncio.get_running_loop().call_soon(begin)
        await eventually(shop.started.is_set)
        place.last.answer(200, [], b"")
        now = time.monotonic_ns() + 2_000 * SECOND
        due = check(talk.engine, now)
        assert (talk.engine.is_closed, due > now) == (False, True)
        shop.goes_on.set()
        await eventually(lambda: talk.engine.stats()["calls"] == 0)
        check(talk.engine, due)
        assert talk.engine.is_closed


async def test_a_connection_closes_with_the_first_answer_after_its_age() -> None:
    async with connected(http=RESTING, config=AGEING) as talk:
        for seconds, closes in ((0, False), (80, False), (111, True)):
            check(talk.engine, time.monotonic_ns() + seconds * SECOND)
            answer = await talk.post(ECHO, {"text": "a"})
            assert (answer.status, ("connection", "close") in answer.fields) == (200, closes)
        await eventually(lambda: talk.engine.is_closed)


async def test_a_call_may_outlast_the_age_of_its_connection_by_the_time_of_a_drain() -> None:
    async with connected(config=AGEING) as talk:
        await talk.sent(request("POST", "/shop.v1/wait", {}))
        began = time.monotonic_ns()
        check(talk.engine, began + 111 * SECOND)
        check(talk.engine, began + 140 * SECOND)
        assert talk.engine.stats()["calls"] == 1
        check(talk.engine, began + 142 * SECOND)
        answer = await talk.response()
        assert (answer.status, answer["connection"]) == (503, "close")
        assert answer.value["detail"].endswith("(Timeouts.drain)")


async def test_the_last_request_of_a_connection_that_rested_at_its_age_has_its_own_time() -> None:
    async with connected(http=RESTING, config=AGEING) as talk:
        assert (await talk.post(ECHO, {"text": "a"})).status == 200
        began = time.monotonic_ns()
        check(talk.engine, began + 111 * SECOND)
        await talk.sent(request("POST", "/shop.v1/wait", {}))
        check(talk.engine, began + 150 * SECOND)
        assert talk.engine.stats()["calls"] == 1


async def test_a_socket_that_opens_on_a_connection_past_its_age_ends_once_it_has_no_call() -> None:
    async with connected(http=RESTING, config=AGEING) as talk:
        assert (await talk.post(ECHO, {"text": "a"})).status == 200
        check(talk.engine, time.monotonic_ns() + 111 * SECOND)
        async with opened_socket(talk, "/ws/shop.v1/double") as socket:
            check(talk.engine, time.monotonic_ns() + 2 * SECOND)
            assert await socket.rest() == ([], 1012)


async def test_calls_under_way_are_answered_when_the_server_ends_them() -> None:
    async with connected() as talk:
        await talk.sent(request("POST", "/shop.v1/wait", {}))
        talk.engine.end_calls("the server stops")
        answer = await talk.response()
        assert answer.value["detail"].endswith("the server stops")


def check_twice(talk: GatewayTalk, seconds: float) -> None:
    """Let this time pass, and look again at the work that the first look deferred."""
    for at in (seconds, seconds + 1):
        check(talk.engine, time.monotonic_ns() + int(at * SECOND))


@pytest.mark.parametrize("drains", [True, False])
async def test_a_connection_that_rests_does_not_close_while_something_is_unread(drains: bool) -> None:
    async with connected() as talk:
        assert (await talk.post(ECHO, {"text": "a"})).status == 200
        if drains:
            talk.engine.begin_drain()
        seconds = 2 if drains else 100
        with talk.transport.something_unread():
            check_twice(talk, seconds)
            assert not talk.engine.is_closed
        check_twice(talk, seconds)
        assert talk.engine.is_closed


async def test_a_drain_leaves_a_slow_reader_its_time_and_answers_the_next_request() -> None:
    async with connected() as talk:
        assert (await talk.post(ECHO, {"text": "a"})).status == 200
        talk.session.pause_writing()
        talk.send(request("POST", ECHO, {"text": "b"}))
        await eventually(lambda: talk.session.is_put_off)
        talk.engine.begin_drain()
        check_twice(talk, 2)
        assert not talk.transport.is_aborted
        talk.session.resume_writing()
        answer = await talk.response()
        assert (answer.value, answer["connection"]) == ("b", "close")


async def test_a_drain_leaves_a_socket_whose_peer_reads_slowly_its_time() -> None:
    async with connected(http=HTTP(websocket=True)) as talk:
        async with opened_socket(talk, "/ws/shop.v1/double") as socket:
            socket.send({"value": 1})
            assert await socket.receive() == {"value": 2}
            talk.session.pause_writing()
            talk.engine.begin_drain()
            check_twice(talk, 2)
            assert not talk.transport.is_aborted
            talk.session.resume_writing()
            socket.send({"value": 2}, {"end": True})
            assert (await socket.rest())[0][0] == {"value": 4}


async def test_the_answer_to_a_message_takes_no_time_from_a_slow_reader() -> None:
    place = Place()
    async with connected(http=HTTP(websocket=True), paths={"/place": place}) as talk:
        async with opened_socket(talk, "/place") as socket:
            socket.send({"id": 1})
            await eventually(lambda: place.requests)
            talk.session.pause_writing()
            talk.engine.begin_drain()
            place.last.answer(200, [], b'"one"')
            check(talk.engine, time.monotonic_ns() + SECOND // 2)
            assert not talk.transport.is_aborted
            talk.session.resume_writing()
            assert await socket.receive() == "one"
            _, code = await socket.rest()
            assert code == 1012
