"""The way of requests into the gate: the counted bytes of an incomplete body."""

from tests.support.gateway_talk import connected
from tests.support.http_talk import request
from tests.support.waiting import eventually

ECHO = "/shop.v1/echo"


async def test_a_part_of_a_body_is_counted_until_its_call_has_ended() -> None:
    async with connected() as talk:
        data = request("POST", ECHO, {"text": "a" * 20_000})
        await talk.sent(data[:15_000])
        assert talk.engine.connection.held_bytes > 14_000
        talk.send(data[15_000:])
        assert (await talk.response()).value == "a" * 20_000
        assert talk.engine.connection.held_bytes == 0


async def test_a_part_of_a_body_that_is_cut_off_is_counted_no_more() -> None:
    async with connected() as talk:
        await talk.sent(request("POST", ECHO, {"text": "a" * 20_000})[:15_000])
        connection = talk.engine.connection
        talk.lose()
        await eventually(lambda: connection.held_bytes == 0)
