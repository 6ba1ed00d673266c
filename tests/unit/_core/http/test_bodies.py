"""Bodies that come in parts: lines, and mistakes in them."""

import pytest

from tests.support.gateway_talk import connected
from tests.support.http_talk import request
from tests.support.waiting import eventually

LINES = b'{"arguments":{"start":1}}\n{"value":2}\n{"value":3}'
TOTAL = "/shop.v1/total"


@pytest.mark.parametrize("size", [1, 3, 10_000])
async def test_a_body_in_lines_is_understood_at_any_division(size: int) -> None:
    async with connected() as talk:
        data = request("POST", "/shop.v1/total", LINES, Content_Type="application/x-ndjson")
        for at in range(0, len(data), size):
            talk.send(data[at : at + size])
        assert (await talk.response()).value == 6


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"value":2}\n{"arguments":{"start":1}}', "in the first line of the body only"),
        (b'{"arguments":{"start":1}}\n{"nothing":1}', "neither"),
        (b"{", ""),
    ],
)
async def test_lines_that_fit_no_stream_are_refused(body: bytes, told: str) -> None:
    async with connected() as talk:
        answer = await talk.post(TOTAL, body, Content_Type="application/x-ndjson")
        assert answer.status == 400
        assert told in answer.value["detail"]


async def test_a_line_is_counted_until_it_is_whole() -> None:
    async with connected() as talk:
        data = request("POST", TOTAL, LINES + b" " * 5_000 + b"\n", Content_Type="application/x-ndjson")
        await talk.sent(data[:-1])
        assert talk.engine.connection.held_bytes > 5_000
        talk.send(data[-1:])
        assert (await talk.response()).value == 6
        assert talk.engine.connection.held_bytes == 0


async def test_a_line_that_is_cut_off_is_counted_no_more() -> None:
    async with connected() as talk:
        data = request("POST", TOTAL, LINES + b" " * 5_000, Content_Type="application/x-ndjson")
        await talk.sent(data[:-1])
        connection = talk.engine.connection
        assert connection.held_bytes > 5_000
        talk.lose()
        await eventually(lambda: connection.held_bytes == 0)
