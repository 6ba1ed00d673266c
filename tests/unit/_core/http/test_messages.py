"""The messages of a stream in a body."""

import pytest

from tests.support.gateway_talk import connected

LINES = "application/x-ndjson"


async def test_messages_are_lines_and_the_last_one_is_the_end() -> None:
    async with connected() as talk:
        answer = await talk.post("/shop.v1/count", {"to": 2})
        assert answer.body == b'{"value":0}\n{"value":1}\n{"end":{"metadata":{}}}\n'


async def test_messages_are_events_where_the_caller_asks_for_them() -> None:
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
