"""The requests of one connection of the gateway, from their heads to the gate."""

from tests.support.gateway_talk import connected
from tests.support.http_talk import request
from tests.support.kept_requests import Place


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
