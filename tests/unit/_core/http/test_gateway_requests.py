"""The requests of one connection of the gateway, from their heads to the gate."""

from tests.support.gateway_talk import connected


async def test_a_large_body_of_a_request_that_is_refused_anyhow_is_not_waited_for() -> None:
    async with connected() as talk:
        talk.send(b"POST /shop.v1/nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        answer = await talk.response()
        assert (answer.status, answer["connection"]) == (404, "close")
