"""Long bodies of mounted applications: they are sent in parts, each of which needs room in the process."""

import asyncio
from typing import Any

import pytest

from fastrpc import Memory
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.full_memory import MIB, full
from tests.support.http_talk import request
from tests.support.mounted import Sending, answering, mounted, part, start

BODY = b"0123456789abcdef" * (MIB // 16) * 3


@pytest.mark.parametrize("fields", [(), [(b"content-length", b"%d" % len(BODY))]])
@pytest.mark.parametrize("verb", ["GET", "HEAD"])
async def test_a_long_body_of_a_mounted_application_arrives_whole(verb: str, fields: Any) -> None:
    async with mounted(answering(BODY, headers=fields)) as client:
        client.send(request(verb, "/"))
        answer = await client.response(has_body=verb == "GET")
        assert answer["content-length"] == str(len(BODY))
        assert answer.body == (BODY if verb == "GET" else b"")
        assert (await client.get("/stock/count?name=ab")).value == 2


async def test_long_parts_of_a_mounted_application_arrive_whole() -> None:
    async with mounted(answering(BODY, b"", BODY[:100], BODY)) as client:
        answer = await client.get("/")
        assert answer["transfer-encoding"] == "chunked"
        assert answer.body == BODY + BODY[:100] + BODY


async def test_a_long_body_that_contradicts_its_stated_length_is_refused_before_it_is_sent() -> None:
    application = Sending(start(content_length=str(MIB)), part(BODY))
    async with mounted(application) as client:
        assert (await client.get("/")).status == 500
        assert isinstance(application.error, RuntimeError)
        assert "longer than its Content-Length" in str(application.error)


class Waiting:
    """An application that sends a long body once it may, and keeps the error that ends it."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        self.begun.set()
        await self.go_on.wait()
        try:
            await send(start())
            await send(part(BODY))
        except OSError:
            self.left.set()
            raise


async def test_a_mounted_application_waits_for_room_before_its_body_is_taken() -> None:
    application = Waiting()
    async with mounted(application, config={"memory": Memory(process_bytes=64 * MIB)}) as client:
        client.send(request("GET", "/"))
        await application.begun.wait()
        taking = asyncio.create_task(client.response())
        with full():
            application.go_on.set()
            held = bytes_held()
            await asyncio.wait([taking], timeout=0.1)
            assert not taking.done()
            assert bytes_held() == held
        assert (await taking).body == BODY


async def test_a_client_that_leaves_ends_the_wait_of_a_mounted_application_for_room() -> None:
    application = Waiting()
    async with mounted(application) as client:
        client.send(request("GET", "/"))
        await application.begun.wait()
        with full(2_000 * MIB):
            application.go_on.set()
            client.writer.close()
            async with asyncio.timeout(20):
                await application.left.wait()
