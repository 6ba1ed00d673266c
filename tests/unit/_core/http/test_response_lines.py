"""The fields of responses."""

import pytest

from tests.support.gateway_talk import connected

ECHO = "/shop.v1/echo"


async def test_an_answer_has_its_type_and_nothing_that_nobody_asked_for() -> None:
    async with connected() as talk:
        answer = await talk.post(ECHO, {"text": "a"})
        names = {name for name, _ in answer.fields}
        assert names == {"content-type", "content-length", "date", "x-content-type-options"}


@pytest.mark.parametrize("path", [ECHO, "/shop.v1/nothing"])
async def test_no_type_is_guessed_from_an_answer(path: str) -> None:
    async with connected() as talk:
        assert (await talk.post(path, {"text": "a"}))["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
async def test_an_answer_to_get_is_not_stored(verb: str) -> None:
    async with connected() as talk:
        answer = await talk.ask(verb, f"{ECHO}?a")
        assert (answer.status, answer["cache-control"]) == (200, "no-store")


async def test_a_plain_id_of_a_request_comes_back() -> None:
    async with connected() as talk:
        assert (await talk.post(ECHO, {"text": "a"}, X_Request_Id="a.B_9-"))["x-request-id"] == "a.B_9-"


@pytest.mark.parametrize("given", ["", "a b", "<script>", "a" * 65, "one\r\nX-Request-Id: two"])
async def test_another_id_is_replaced(given: str) -> None:
    async with connected() as talk:
        answer = await talk.post(ECHO, {"text": "a"}, X_Request_Id=given)
        assert answer.status == 200
        assert answer["x-request-id"] not in ("", given, "one", "two")
