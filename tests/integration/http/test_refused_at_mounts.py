"""Requests that could smuggle another one have the same end at a mounted application as at a method of ours."""

import asyncio
import re
from typing import Any

import pytest

from tests.support.http_talk import HttpClient
from tests.support.mounted import mounted
from tests.unit._core.http1.test_refused_requests import REFUSED, SMUGGLED

pytestmark = pytest.mark.one_loop

METHOD, MOUNT = b"/stock/count", b"/app/count"
FIELDS = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\n"


class Witness:
    """An application that answers a whole request, and keeps the paths that it was asked for."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        while (event := await receive()).get("more_body"):
            pass
        if event["type"] == "http.disconnect":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def statuses(client: HttpClient, data: bytes, *, is_cut: bool) -> list[int]:
    """Send bytes on a connection of their own, and return the status of each response until it closes."""
    async with await HttpClient.to(client.address) as talk:  # type: ignore[attr-defined]
        for piece in (data[:-9], data[-9:]) if is_cut else (data,):
            talk.send(piece)
            await talk.writer.drain()
        async with asyncio.timeout(10):
            answer = await talk.reader.read()
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
async def test_a_request_that_could_smuggle_ends_at_an_application_as_at_a_method(is_cut: bool) -> None:
    witness = Witness()
    async with mounted({"/app": witness}) as client:
        for name, data in REFUSED.items():
            ends = []
            for path in (METHOD, MOUNT):
                sent = data.replace(b"/x", path).replace(b"Host: a\r\n", FIELDS)
                ends.append(await statuses(client, sent + SMUGGLED, is_cut=is_cut))
            assert ends[0] == ends[1], name
            assert all(status >= 400 for status in ends[1]), name
    assert "/smuggled" not in witness.paths
