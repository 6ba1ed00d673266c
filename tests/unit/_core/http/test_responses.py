"""The fields of responses, and errors as HTTP answers them."""

from http import HTTPStatus

import msgspec
import pytest

from fastrpc import Status
from fastrpc._core.http.responses import http_status_of, problem
from fastrpc._core.link.failure import Failure
from tests.support.gateway_talk import connected

MSGPACK, JSON = 1, 2


@pytest.mark.parametrize("status", Status)
def test_each_status_has_an_http_status(status: Status) -> None:
    found = http_status_of(status.value)
    assert found == 499 or found in list(HTTPStatus)
    assert (found == 200) is (status is Status.OK)


@pytest.mark.parametrize("status", [-1, 17, 1_000])
def test_an_unknown_status_is_an_error_of_the_server(status: int) -> None:
    assert http_status_of(status) == 500
    assert problem(Failure(status, "?"), JSON)["code"] == "UNKNOWN"


def test_a_document_tells_status_text_and_whether_a_handler_ran() -> None:
    assert problem(Failure(Status.NOT_FOUND, "no order 7"), JSON) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "NOT_FOUND",
        "detail": "no order 7",
        "processed": "yes",
    }
    told = problem(Failure(Status.RESOURCE_EXHAUSTED, "", has_run=False), JSON, 413)
    assert (told["title"], told["status"], told["processed"]) == ("Content Too Large", 413, "no")


@pytest.mark.parametrize(("pushback_ms", "seconds"), [(0, None), (1_500, 1.5), (2**32 - 1, None)])
def test_a_pushback_is_sent_in_seconds_if_present(pushback_ms: int, seconds: float | None) -> None:
    document = problem(Failure(Status.UNAVAILABLE, "", pushback_ms=pushback_ms), JSON)
    assert document.get("retry_after") == seconds


def test_details_are_values_for_any_codec() -> None:
    for codec, encode in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)):
        document = problem(Failure(Status.ABORTED, "", details=encode({"why": [1, None]})), codec)
        assert msgspec.json.decode(msgspec.json.encode(document))["details"] == {"why": [1, None]}


def test_details_that_json_cannot_carry_are_left_out() -> None:
    for details in (b"\xc1", msgspec.msgpack.encode({(1, 2): 3})):
        assert problem(Failure(Status.ABORTED, "", details=details), MSGPACK)["details"] is None


async def test_a_failure_of_a_handler_is_answered_by_a_document() -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/fail", {"status": "UNAVAILABLE"})
        assert (answer.status, answer["content-type"]) == (503, "application/problem+json")
        assert answer["retry-after"] == "1"
        assert answer.value["details"] == {"why": [1, "b"]}


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
