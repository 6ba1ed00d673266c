"""The forms of bodies, and the messages of a stream in them."""

from typing import Any

import msgspec
import pytest

from fastrpc import HTTP
from tests.support.gateway_talk import connected
from tests.support.socket_client import called, opened_socket
from tests.support.socket_frames import TEXT, client_frame


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


LINES = "application/x-ndjson"


async def test_messages_are_lines_and_the_last_one_is_the_end() -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/count", {"to": 2})
        assert answer.body == b'{"value":0}\n{"value":1}\n{"end":{"metadata":{}}}\n'


async def test_messages_are_events_if_the_caller_accepts_events() -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/count", {"to": 2}, Accept="text/event-stream")
        assert answer.body == b'data: 0\n\ndata: 1\n\nevent: end\ndata: {"metadata":{}}\n\n'


@pytest.mark.parametrize(
    ("accept", "begin"),
    [(LINES, b'{"value":0}\n{"error":{'), ("text/event-stream", b"data: 0\n\nevent: error\ndata: {")],
)
async def test_a_stream_that_fails_ends_with_the_error(accept: str, begin: bytes) -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/count", {"to": 3, "fail_at": 1}, Accept=accept)
        assert answer.status == 200
        assert answer.body.startswith(begin)
        assert b'"code":"ABORTED"' in answer.body


@pytest.mark.parametrize(
    ("body", "total"),
    [
        (b"", 0),
        (b'{"end":true}', 0),
        (b'{"value":1}\n{"value":2}', 3),
        (b'\n \r\n{"value":1}\r\n\n{ "value" : 2 }\n', 3),
        (b'{"arguments":{"start":10}}\n{"value":1}\n{"end":true}\n', 11),
    ],
)
async def test_lines_of_a_caller_are_arguments_values_and_an_end(body: bytes, total: int) -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/total", body, Content_Type=LINES)
        assert (answer.status, answer.value) == (200, total)


@pytest.mark.parametrize(
    "line",
    [
        b"1",
        b"{",
        b"{}",
        b"[" * 5_000,
        b'{"value":1,"end":true}',
        b'{"end":false}',
        b'{"value":1,"value":1}',
        b'{"other":1}',
    ],
)
@pytest.mark.parametrize("begin", [b"", b'{"value":1}\n'])
async def test_a_line_that_says_something_else_is_the_fault_of_the_caller(begin: bytes, line: bytes) -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/total", begin + line, Content_Type=LINES)
        assert (answer.status, answer.value["code"]) == (400, "INVALID_ARGUMENT")


async def test_arguments_come_first() -> None:
    async with connected() as talk:
        body = b'{"value":1}\n{"arguments":{}}'
        answer = await talk.post("/shop.v1/total", body, Content_Type=LINES)
        assert answer.status == 400
        assert "the arguments come in the first line" in answer.value["detail"]


SOCKETS = HTTP(websocket=True)

WRONG_OPENINGS = [
    1,
    [],
    {"other": 1},
    {"end": False},
    {"value": 1, "end": True},
    {"arguments": {"none": 1}},
    {"arguments": [1]},
    {"timeout_ms": -1},
    {"timeout_ms": "1"},
    {"timeout_ms": True},
    {"metadata": 1},
    {"metadata": {"a": 1}},
    {"metadata": {"A b": "1"}},
    {"metadata": {"authorization": "Bearer a"}},
    {"metadata": {"frpc-x": "a"}},
    {"metadata": {"of": "twice"}},
    {"metadata": {"a-bin": "***"}},
    {"metadata": {"a": "x" * 70_000}},
]


@pytest.mark.parametrize("opening", WRONG_OPENINGS)
async def test_an_envelope_that_says_something_else_is_the_fault_of_the_caller(opening: Any) -> None:
    async with connected(http=SOCKETS) as talk:
        messages, code = await called(talk, "total", opening, Meta_Of="head")
        assert (len(messages), messages[0]["error"]["code"], code) == (1, "INVALID_ARGUMENT", 1000)
        assert messages[0]["error"]["processed"] == "no"


@pytest.mark.parametrize(
    "content", [b"{", b'{"value":1,"value":2}', b"[" * 5_000, b'{"value":' + b"[" * 5_000]
)
async def test_a_message_that_is_no_object_is_the_fault_of_the_caller(content: bytes) -> None:
    async with connected(http=SOCKETS) as talk, opened_socket(talk, "/ws/shop.v1/total") as socket:
        talk.send(client_frame(TEXT, content))
        messages, _ = await socket.rest()
        assert messages[0]["error"]["code"] == "INVALID_ARGUMENT"
