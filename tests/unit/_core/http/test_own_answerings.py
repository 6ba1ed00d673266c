"""From the outcome of a call to the response, in the gateway's own forms."""

import pytest

from fastrpc import Limits
from tests.support.gateway_talk import connected

ECHO = "/shop.v1/echo"


async def test_answers_come_in_the_order_of_the_requests() -> None:
    async with connected() as talk:
        for number in range(3):
            assert (await talk.post("/shop.v1/later", {"text": str(number)})).value == str(number)
        assert talk.engine.connection.protocol == "http"
        assert not talk.engine.is_answering


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nothing", {}, 404),
        ("echo", {"text": 7}, 400),
        ("echo", b"{", 400),
        ("fail", {"status": "NOT_FOUND"}, 404),
        ("crash", {}, 500),
    ],
)
async def test_a_failure_has_the_status_that_says_most(path: str, body: object, status: int) -> None:
    async with connected() as talk:
        answer = await talk.post(f"/shop.v1/{path}", body)
        assert (answer.status, answer.value["status"]) == (status, status)
        assert b"secret" not in answer.body
        assert (await talk.post(ECHO, {"text": "a"})).status == 200


async def test_a_body_over_the_limit_is_refused() -> None:
    async with connected(limits=Limits(message_bytes=4_096)) as talk:
        assert (await talk.post(ECHO, {"text": "a" * 4_096})).status == 413


async def test_a_stream_that_fails_before_its_first_message_is_an_error() -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/count", {"to": 1, "fail_at": 0})
        assert (answer.status, answer["content-type"]) == (409, "application/problem+json")
