"""A request to a fixed path, or a message of a WebSocket there, as the handler of the path sees it."""

import asyncio

from fastrpc import HTTP
from fastrpc._core.http.http_call import Outcome
from tests.support.gateway_talk import connected
from tests.support.http_talk import request
from tests.support.kept_requests import Place
from tests.support.socket_client import opened_socket
from tests.support.waiting import eventually


async def outcome_of(place: Place, method: str, arguments: bytes) -> Outcome:
    """Call a method in the name of a request to a fixed path."""
    found: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    # As a transport does, outside of any task.
    asyncio.get_running_loop().call_soon(place.last.call, method, arguments, found.set_result)
    return await found


async def test_a_request_to_a_fixed_path_may_call_methods() -> None:
    place = Place()
    async with connected(paths={"/place": place}) as talk:
        await talk.sent(request("POST", "/place", b""))
        assert (await outcome_of(place, "shop.v1.later", b'{"text":"a"}')).value == b'"a"'
        for method, code in (("shop.v1.nothing", 12), ("shop.v1.count", 3), ("shop.v1.crash", 13)):
            outcome = await outcome_of(place, method, b'{"to":1}' if method.endswith("count") else b"{}")
            assert outcome.value is None
            assert outcome.failure is not None
            assert outcome.failure.status == code
        assert talk.transport.written == b""


async def test_a_request_is_answered_once() -> None:
    place = Place()
    async with connected(paths={"/place": place}) as talk:
        await talk.sent(request("POST", "/place?x", b"hello"))
        [(exchange, body)] = place.requests
        assert (body, exchange.head.query, exchange.is_message) == (b"hello", "x", False)
        assert exchange.is_asked
        exchange.answer(201, [("X-One", "a")], b"made")
        exchange.answer(202, [], b"again")
        answer = await talk.response()
        assert (answer.status, answer["x-one"], answer.body) == (201, "a", b"made")
        assert [exchange.is_asked] == [False]
        assert (await talk.get("/place"))["allow"] == "POST"


async def test_an_answer_after_the_end_of_the_connection_is_dropped() -> None:
    place = Place()
    async with connected(paths={"/place": place}) as talk:
        await talk.sent(request("POST", "/place", b""))
        talk.lose()
    del talk
    exchange = place.last
    assert (exchange.is_asked, exchange.reveals_services) == (False, True)
    exchange.answer(200, [], b"late")


async def test_a_message_of_a_socket_is_answered_by_a_message() -> None:
    place = Place()
    async with connected(http=HTTP(websocket=True), paths={"/place": place}) as talk:
        async with opened_socket(talk, "/place") as socket:
            for number in (1, 2):
                socket.send({"id": number})
                await eventually(lambda: len(place.requests) == number)  # noqa: B023
                assert place.last.is_message
                place.last.answer(200, [], b"")
                place.last.answer(200, [], b"%d" % number)
                assert await socket.receive() == number


async def test_a_request_calls_under_its_own_name_after_the_next_one_came() -> None:
    place = Place()
    async with connected(paths={"/place": place}) as talk:
        for user in ("Ada", "Bob"):
            await talk.sent(request("POST", "/place", b"", Meta_User=user))
            place.last.answer(200, [], b"")
            assert (await talk.response()).status == 200
        first = place.requests[0][0]
        found: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(first.call, "shop.v1.metadata", b"{}", found.set_result)
        assert (await found).value == b'{"user":"Ada"}'
        first.answer(200, [], b"again")
        assert not first.is_asked
