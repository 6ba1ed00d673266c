"""The forms of bodies and answers, as the fields of a request name them."""

import msgspec
import pytest

from tests.support.gateway_talk import connected


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; profile=x",
        "application/json;",
    ],
)
async def test_json_is_taken_with_any_parameter_but_another_charset(content_type: str) -> None:
    async with connected() as talk:
        assert (await talk.post("/shop.v1/echo", {"text": "a"}, Content_Type=content_type)).value == "a"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/jsonp",
        "application/json, application/json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-8; charset=latin-1",
        "application/x-ndjson",
        "application/json\r\nContent-Type: application/json",
    ],
)
async def test_any_other_type_is_refused(content_type: str | None) -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/echo", {"text": "a"}, Content_Type=content_type)
        assert answer.status == 415
        assert "application/msgpack" in answer.value["detail"]


async def test_msgpack_is_answered_in_msgpack() -> None:
    async with connected() as talk:
        body = msgspec.msgpack.encode({"text": "a"})
        answer = await talk.post("/shop.v1/echo", body, Content_Type="application/msgpack")
        assert (answer["content-type"], answer.body) == ("application/msgpack", b"\xa1a")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
        ("Text/Event-Stream", "text/event-stream"),
        # The first one counts, not its weight.
        ("text/event-stream;q=0.1, application/x-ndjson", "text/event-stream"),
        ("text/html, application/json;q=0.9, text/event-stream", "application/x-ndjson"),
        ("text/html\r\nAccept: text/event-stream", "text/event-stream"),
    ],
)
async def test_a_stream_is_written_in_the_first_form_that_the_caller_accepts(
    accept: str | None, content_type: str
) -> None:
    async with connected() as talk:
        assert (await talk.post("/shop.v1/count", {"to": 1}, Accept=accept))["content-type"] == content_type


@pytest.mark.parametrize("accept", ["", "text/html", "text/*", "application/msgpack"])
async def test_a_caller_that_accepts_no_form_of_a_stream_is_refused(accept: str) -> None:
    async with connected() as talk:
        assert (await talk.post("/shop.v1/count", {"to": 1}, Accept=accept)).status == 406
