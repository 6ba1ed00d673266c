"""Bodies of requests to mounted applications that are kept back until they are asked for (`Expect: 100-continue`)."""

import asyncio
from typing import Any

import pytest

from fastrpc import HTTPLimits
from tests.support.http_talk import HttpClient, request
from tests.support.mounted import mounted, part, start, whole_body

pytestmark = pytest.mark.one_loop

EXPECTING = request("POST", "/", b"", Content_Length="3", Expect="100-continue")


async def test_an_application_that_refuses_a_body_unread_asks_for_nothing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await send(start(413))
        await send(part(b"too large"))

    async with mounted(app) as client:
        client.send(EXPECTING)
        answer = await client.response()
        assert (answer.status, answer["connection"], answer.body) == (413, "close", b"too large")
        assert await client.is_closed()


async def test_a_body_is_asked_for_with_the_first_receive_and_once() -> None:
    goes_on = asyncio.Event()
    waits = asyncio.Event()
    bodies: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        waits.set()
        await goes_on.wait()
        bodies.append(await whole_body(receive))
        await send(start())
        await send(part(b"done"))

    async with mounted(app) as client:
        client.send(EXPECTING)
        await waits.wait()
        reading = asyncio.ensure_future(client.reader.readuntil(b"\r\n\r\n"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not reading.done()
        goes_on.set()
        assert (await reading).startswith(b"HTTP/1.1 100 ")
        client.send(b"a")
        client.send(b"bc")
        assert (await client.response()).body == b"done"
        # The connection stays usable.
        assert (await client.post("/", b"d", Content_Type="text/plain")).body == b"done"
    assert bodies == [b"abc", b"d"]


async def test_a_body_that_comes_unasked_waits_for_the_application() -> None:
    bodies: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        bodies.append(await whole_body(receive))
        await send(start())
        await send(part(b"done"))

    async with mounted(app) as client:
        client.send(EXPECTING + b"abc")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await client.response()).status == 200
    assert bodies == [b"abc"]


async def test_a_body_that_is_received_after_the_head_of_the_response_is_not_requested() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        await send(start())
        await send(part(b"first,", more=True))
        await send(part(await whole_body(receive)))

    async with mounted(app) as client:
        client.send(EXPECTING)
        head = await client.head()
        assert head.status == 200
        client.send(b"abc")
        assert (await client.rest(head)).body == b"first,abc"


async def test_the_time_limit_of_a_body_begins_when_it_is_requested() -> None:
    waits, goes_on = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        waits.set()
        await goes_on.wait()
        await whole_body(receive)

    limits = HTTPLimits(body_idle_seconds=0.05)
    async with mounted(app, http={"limits": limits}) as client, await HttpClient.to(client.address) as other:
        client.send(EXPECTING)
        await waits.wait()
        # The time of a body that is asked for ends meanwhile.
        other.send(request("POST", "/stock/count", b"", Content_Length="3", Expect="100-continue"))
        assert (await other.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await other.response()).status == 408
        goes_on.set()
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await client.response()).status == 408
