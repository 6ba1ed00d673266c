"""The HTTP gateway's side of one connection: from requests to calls."""

import asyncio

import pytest

from fastrpc._core.gateway.http_call import Outcome
from tests.support.gateway_talk import GatewayTalk, connected
from tests.support.http_talk import request
from tests.support.waiting import eventually

ECHO = "/shop.v1/echo"
LINES = b'{"arguments":{"start":1}}\n{"value":2}\n{"value":3}'


class Place:
    """What is at a fixed path: keeps each request."""

    verbs = ("POST",)
    needs_identity = False
    content_types = ("text/plain",)

    def __init__(self) -> None:
        self.requests: list[tuple[object, bytes]] = []

    def takes(self, head: object) -> bool:
        return True

    def serve(self, connection: object, head: object, body: bytes, identity: object) -> None:
        self.requests.append((head, body))


@pytest.mark.parametrize("size", [1, 3, 10_000])
async def test_a_body_in_lines_is_understood_however_it_is_cut(size: int) -> None:
    async with connected() as talk:
        data = request("POST", "/shop.v1/total", LINES, Content_Type="application/x-ndjson")
        for at in range(0, len(data), size):
            talk.send(data[at : at + size])
        assert (await talk.response()).value == 6


async def test_a_large_body_of_a_request_that_is_refused_anyhow_is_not_waited_for() -> None:
    async with connected() as talk:
        talk.send(b"POST /shop.v1/nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        answer = await talk.response()
        assert (answer.status, answer["connection"]) == (404, "close")


async def test_what_is_at_a_fixed_path_answers_once() -> None:
    place = Place()
    async with connected(paths={"/place": place}) as talk:
        await talk.sent(request("POST", "/place?x", b"hello"))
        [(head, body)] = place.requests
        assert body == b"hello"
        assert talk.engine.is_asked(head)  # type: ignore[arg-type]
        talk.engine.answer_path(201, [("X-One", "a")], b"made")
        answer = await talk.response()
        assert (answer.status, answer["x-one"], answer.body) == (201, "a", b"made")
        assert not talk.engine.is_asked(head)  # type: ignore[arg-type]
        assert (await talk.get("/place"))["allow"] == "POST"


async def outcome_of(talk: GatewayTalk, method: str, arguments: bytes) -> Outcome:
    """Call a method in the name of a request to a fixed path."""
    found: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    # As a transport does, outside of any task.
    asyncio.get_running_loop().call_soon(talk.engine.begin_call, method, arguments, found.set_result)
    return await found


async def test_a_request_to_a_fixed_path_may_call_methods() -> None:
    async with connected(paths={"/place": Place()}) as talk:
        await talk.sent(request("POST", "/place", b""))
        assert (await outcome_of(talk, "shop.v1.later", b'{"text":"a"}')).value == b'"a"'
        for method, code in (("shop.v1.nothing", 12), ("shop.v1.count", 3), ("shop.v1.crash", 13)):
            outcome = await outcome_of(talk, method, b'{"to":1}' if method.endswith("count") else b"{}")
            assert outcome.value is None
            assert outcome.failure is not None
            assert outcome.failure.status == code
        assert talk.transport.written == b""


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


async def test_calls_under_way_are_answered_when_the_server_ends_them() -> None:
    async with connected() as talk:
        await talk.sent(request("POST", "/shop.v1/wait", {}))
        talk.engine.end_calls("the server stops")
        answer = await talk.response()
        assert answer.value["detail"].endswith("the server stops")
