"""A request to a mounted application on a connection that leads nowhere: parts of bodies, held reading, its end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import HTTP, ServerConfig
from fastrpc._core.http.mounted_request import ClientGoneError, MountedRequest, current_request
from fastrpc.hosting.mounts import Mounts
from tests.support.gateway_talk import GatewayTalk, connected
from tests.support.http_talk import request
from tests.support.mounted import part, start
from tests.support.waiting import eventually


class Held:
    """An application that ends when the test says so, and lets it ask for events."""

    def __init__(self) -> None:
        self.request: MountedRequest | None = None
        self.answer: Callable[[MountedRequest], Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.request = current_request()
        while self.answer is None:
            if (await receive())["type"] == "http.disconnect":
                return
        await self.answer(self.request)


@asynccontextmanager
async def talking(app: Any) -> AsyncIterator[GatewayTalk]:
    http = HTTP(mounts={"/": app})
    async with connected(http=http) as talk:
        config = ServerConfig(protocols=("http",), http=http)
        talk.engine.service.mounts = Mounts(config, talk.engine.gate)
        yield talk


async def test_a_short_body_is_there_at_the_start_if_it_came_with_its_head_and_follows_otherwise() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append("started")
        more = True
        while more:
            event = await receive()
            seen.append(event["body"])
            more = event["more_body"]
        await send(start())
        await send(part(b"ok"))

    async with talking(app) as talk:
        data = request("POST", "/", b"0123456789")
        await talk.sent(data)
        assert (await talk.response()).body == b"ok"
        assert seen == ["started", b"0123456789"]
        for at in range(10):
            seen.clear()
            await talk.sent(data[: len(data) - 10 + at])
            # Behind a stall of the machine the head is read in a later turn.
            await eventually(lambda: seen)
            assert seen[0] == "started"
            await talk.sent(data[len(data) - 10 + at :])
            assert (await talk.response()).body == b"ok"
            assert b"".join(seen[1:]) == b"0123456789"


async def test_application_that_does_not_suspend_answers_in_the_turn_of_its_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(part(b"ok"))

    async with talking(app) as talk:
        talk.send(request("GET", "/"))
        await asyncio.sleep(0)
        assert talk.transport.written.endswith(b"\r\n\r\nok")


async def test_body_that_is_not_taken_counts_for_its_connection() -> None:
    ends = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await ends.wait()

    async with talking(app) as talk:
        await talk.sent(request("POST", "/", b"", Content_Length="1000000"))
        before = talk.engine.connection.held_bytes
        await talk.sent(b"x" * 1_000)
        assert talk.engine.connection.held_bytes == before + 1_000
        talk.lose()
        assert talk.engine.connection.held_bytes < before + 1_000
        ends.set()


async def test_lost_connection_is_told_once_and_refuses_output() -> None:
    app = Held()
    async with talking(app) as talk:
        await talk.sent(request("GET", "/"))
        found = app.request
        assert found is not None
        assert not found.is_complete
        assert found.sockname is None
        talk.lose()
        assert await found.receive() == await found.receive() == {"type": "http.disconnect"}
        for event in (start(), part()):
            with pytest.raises(ClientGoneError, match="the client is gone"):
                await found.send(event)
        found.finish()


async def test_end_of_the_server_is_reported_and_then_cancels() -> None:
    app = Held()
    async with talking(app) as talk:
        await talk.sent(request("GET", "/"))
        found = app.request
        assert found is not None
        app.answer = MountedRequest.receive
        mounts = talk.engine.service.mounts
        await mounts.__aexit__(None, None, None)  # type: ignore[union-attr]
        assert found.is_gone
