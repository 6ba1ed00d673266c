"""Signs of life in streams by HTTP whose handlers are silent: proxies end a connection without a byte."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

import fastrpc
from fastrpc import CallError, Server, ServerConfig, Status
from fastrpc.rpc.interceptor import Proceed
from tests.support.http_talk import HttpClient, request

LINES = "application/x-ndjson"
EVENTS = "text/event-stream"

#: Often enough for a test, seldom enough for a busy machine.
SHORT_SECONDS = 0.05


@fastrpc.service("silent")
class Silent:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.thread_may_go_on = threading.Event()

    def release(self) -> None:
        self.go_on.set()
        self.thread_may_go_on.set()

    @fastrpc.method
    async def on_loop(self) -> AsyncIterator[int]:
        await self.go_on.wait()
        fastrpc.current_call().reply_metadata["late"] = "1"
        yield 1

    @fastrpc.method
    def in_thread(self) -> Iterator[int]:
        self.thread_may_go_on.wait()
        fastrpc.current_call().reply_metadata["late"] = "1"
        yield 1

    @fastrpc.method
    async def both_ways(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            await self.go_on.wait()
            fastrpc.current_call().reply_metadata["late"] = "1"
            yield number

    @fastrpc.method
    async def fail(self, behind: int = 0) -> AsyncIterator[int]:
        for number in range(behind):
            yield number
        await self.go_on.wait()
        raise CallError(Status.ABORTED, "enough")


@contextlib.asynccontextmanager
async def serving(*interceptors: object) -> AsyncIterator[tuple[Silent, HttpClient]]:
    service = Silent()
    config = ServerConfig(protocols=("http",))
    async with Server(service, config=config, interceptors=interceptors) as server:
        try:
            async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
                yield service, client
        finally:
            service.release()


def asked(method: str, accept: str) -> bytes:
    if method == "both_ways":
        return request("POST", "/silent/both_ways", b'{"value": 1}\n', Accept=accept, Content_Type=LINES)
    return request("POST", f"/silent/{method}", {}, Accept=accept)


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.server.http.methods.SIGN_SECONDS", SHORT_SECONDS)


async def pass_on(call: object, proceed: Proceed) -> object:
    return await proceed(call)


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize("interceptors", [(), (pass_on,)], ids=["plain", "intercepted"])
@pytest.mark.parametrize("method", ["on_loop", "in_thread", "both_ways"])
async def test_a_silent_stream_of_events_sends_its_head_and_comments(
    method: str, interceptors: tuple[object, ...]
) -> None:
    async with serving(*interceptors) as (service, client):
        client.send(asked(method, EVENTS))
        head = await client.head()
        assert (head.status, head["content-type"]) == (200, EVENTS)
        assert [await client.chunk() for _ in range(3)] == [b":\n\n"] * 3
        service.release()
        while (event := await client.chunk()) == b":\n\n":
            pass
        assert event == b"event: message\ndata: 1\n\n" or event == b"data: 1\n\n"
        last = await client.chunk()
        assert b'{"metadata":{"late":"1"}}' in last
        assert await client.chunk() == b""


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize("method", ["on_loop", "in_thread", "both_ways"])
async def test_a_silent_stream_of_lines_sends_its_head(method: str) -> None:
    async with serving() as (service, client):
        client.send(asked(method, LINES))
        head = await client.head()
        assert (head.status, head["content-type"]) == (200, LINES)
        service.release()
        assert await client.chunk() == b'{"value":1}\n'
        assert await client.chunk() == b'{"end":{"metadata":{"late":"1"}}}\n'


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize("accept", [LINES, EVENTS])
async def test_an_error_after_a_sign_of_life_is_the_last_part(accept: str) -> None:
    async with serving() as (service, client):
        client.send(asked("fail", accept))
        assert (await client.head()).status == 200
        service.release()
        while (part := await client.chunk()) == b":\n\n":
            pass
        assert b'"code":"ABORTED"' in part
        assert await client.chunk() == b""


@pytest.mark.parametrize("accept", [LINES, EVENTS])
async def test_an_error_before_the_first_sign_of_life_keeps_its_status(accept: str) -> None:
    async with serving() as (service, client):
        client.send(asked("fail", accept))
        service.release()
        assert (await client.response()).status == 409


@pytest.mark.usefixtures("_often")
async def test_the_next_request_gets_no_sign_of_the_stream_before() -> None:
    async with serving() as (service, client):
        client.send(asked("fail", EVENTS))
        await client.head()
        service.release()
        while await client.chunk():
            pass
        assert (await client.post("/silent/on_loop", {})).lines[0] == {"value": 1}


@pytest.mark.measures
async def test_the_first_sign_of_life_comes_after_fifteen_seconds() -> None:
    async with serving() as (_, client):
        began = asyncio.get_running_loop().time()
        client.send(asked("on_loop", EVENTS))
        await client.head()
        assert 14.5 < asyncio.get_running_loop().time() - began < 17
