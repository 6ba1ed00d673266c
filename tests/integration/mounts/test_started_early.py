"""Mounted applications that start with the head of a request: before a body of any length, as under uvicorn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from fastrpc import Identity, Timeouts
from fastrpc.auth import StaticTokens
from tests.support.hosted import in_uvicorn
from tests.support.http_talk import HttpClient, request, soon
from tests.support.mounted import Application, mounted, part, start, whole_body

pytestmark = pytest.mark.one_loop

BODY = b"0123456789"
HEAD = request("POST", "/", b"", Content_Length=str(len(BODY)))
CHUNKED = request("POST", "/", b"", Content_Length=None, Transfer_Encoding="chunked")


class Starting:
    """An application that notes its start, and echoes bodies."""

    def __init__(self) -> None:
        self.starts = asyncio.Event()
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.starts.set()
        self.bodies.append(await whole_body(receive))
        await send(start(Content_Length=str(len(self.bodies[-1]))))
        await send(part(self.bodies[-1]))


class Refusing(Starting):
    """An application that answers without a look at the body."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        self.starts.set()
        await send(start(404, Content_Length="4"))
        await send(part(b"none"))


@asynccontextmanager
async def in_ours(app: Application) -> AsyncIterator[HttpClient]:
    async with mounted(app) as client:
        yield client


@asynccontextmanager
async def in_theirs(app: Application) -> AsyncIterator[HttpClient]:
    async with (
        in_uvicorn(app, http="h11") as port,
        await HttpClient.to(f"tcp://127.0.0.1:{port}") as client,
    ):
        yield client


Server = Callable[[Application], AbstractAsyncContextManager[HttpClient]]
servers = pytest.mark.parametrize("server", [in_ours, in_theirs], ids=["ours", "uvicorn"])


@servers
@pytest.mark.parametrize("head", [HEAD, HEAD + BODY[:3], CHUNKED], ids=["no byte", "three bytes", "chunks"])
async def test_an_application_starts_before_a_short_body_is_whole(server: Server, head: bytes) -> None:
    app = Starting()
    async with server(app) as client:
        client.send(head)
        await soon(app.starts)
        assert app.bodies == []
        client.send(b"a\r\n%b\r\n0\r\n\r\n" % BODY if head is CHUNKED else BODY[len(head) - len(HEAD) :])
        assert (await client.response()).body == BODY
        # The connection stays usable.
        assert (await client.post("/", b"next", Content_Type="text/plain")).body == b"next"
    assert app.bodies == [BODY, b"next"]


@servers
@pytest.mark.parametrize("sent", [0, 3])
async def test_the_unread_part_of_a_short_body_after_its_answer_is_no_request(
    server: Server, sent: int
) -> None:
    app = Refusing()
    async with server(app) as client:
        for _ in range(3):
            client.send(HEAD + BODY[:sent])
            answer = await client.response()
            assert (answer.status, answer.body) == (404, b"none")
            # The next request comes in one piece with the remaining bytes.
            client.send(BODY[sent:] + request("GET", "/"))
            assert (await client.response()).status == 404


async def test_the_unread_part_of_a_short_body_may_come_byte_by_byte() -> None:
    async with in_ours(Refusing()) as client:
        client.send(HEAD)
        assert "connection" not in await client.response()
        for at in range(len(BODY)):
            client.send(BODY[at : at + 1])
            await client.writer.drain()
        client.send(request("GET", "/"))
        assert (await client.response()).status == 404


async def test_a_server_that_drains_waits_for_no_rest_of_a_body() -> None:
    async with mounted(Refusing(), config={"timeouts": Timeouts(drain=5.0)}) as client:
        client.send(HEAD)
        assert (await client.response()).status == 404
        await client.server.drain()  # type: ignore[attr-defined]
        assert await client.is_closed()


@pytest.mark.parametrize("token", [None, "wrong", "ada-token"])
async def test_an_identity_is_known_before_the_application_starts(token: str | None) -> None:
    async def slow(peer: Any) -> Identity | None:
        await asyncio.sleep(0)
        return Identity("ada") if peer.credentials == "ada-token" else None

    for authenticate in (StaticTokens({"ada-token": Identity("ada")}), slow):
        app = Starting()
        credential = {} if token is None else {"Authorization": f"Bearer {token}"}
        head = request("POST", "/", b"", Content_Length=str(len(BODY)), **credential)
        async with mounted(app, http={"mount_authenticated": True}, authenticate=authenticate) as client:
            client.send(head)
            if token == "ada-token":
                await soon(app.starts)
                assert app.bodies == []
                client.send(BODY)
                assert (await client.response()).body == BODY
            else:
                client.send(BODY)
                assert (await client.response()).status == 401
                assert not app.starts.is_set()
            # The body of the request before is not read as part of this one.
            found = await client.get("/stock/count", **credential)
            assert found.status == (200 if token == "ada-token" else 401)
