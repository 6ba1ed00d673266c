"""The HTTP gateway behind HAProxy, which shares connections to it among clients: both divide requests alike."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig, current_call
from tests.support.front_proxies import haproxy
from tests.support.http_talk import HttpClient
from tests.unit._core.http1.test_refused_requests import REFUSED

pytestmark = pytest.mark.one_loop

#: HAProxy marks each request that it forwards; one that reaches the server without the mark came inside of another one.
MARK = "http-request set-header Meta-Via haproxy"

#: Behind each refused request, as a separate request for whoever cuts the bytes differently.
SMUGGLED = b"GET /shop.v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@fastrpc.service("shop.v1")
class Marked:
    """Notes by which way its requests came."""

    def __init__(self) -> None:
        self.ways: list[str | None] = []

    @fastrpc.method
    async def echo(self, text: str) -> str:
        self.ways.append(current_call().metadata.get("via"))
        return text

    @fastrpc.method(safe=True)
    async def smuggled(self) -> str:
        self.ways.append(current_call().metadata.get("via"))
        return "smuggled"


@asynccontextmanager
async def behind(program: str, folder: Path, service: Marked) -> AsyncIterator[str]:
    """Serve behind HAProxy; give the address of its front."""
    front, back = folder / "front", folder / "back"
    config = ServerConfig(protocols=("http",), http=HTTP(allowed_hosts=("a",)))

    async def is_reached() -> bool:
        return front.exists()

    async with Server(service, config=config) as server:
        await server.listen(f"unix://{back}")
        running = haproxy(
            program,
            folder / "haproxy.cfg",
            front=f"unix@{front}",
            back=back,
            rule=MARK,
            is_reached=is_reached,
        )
        async with running:
            yield f"unix://{front}"


async def statuses_of(address: str, data: bytes) -> list[int]:
    """Send bytes and no more; return the status of each response."""
    statuses = []
    async with await HttpClient.to(address) as client:
        client.send(data)
        client.writer.write_eof()
        try:
            while True:
                statuses.append((await client.response()).status)
        except (asyncio.IncompleteReadError, ConnectionError):
            return statuses


async def test_no_malformed_request_desynchronises_proxy_and_server(haproxy: str, tmp_path: Path) -> None:
    service = Marked()
    statuses: dict[str, list[int]] = {}
    async with behind(haproxy, tmp_path, service) as address:
        for name, data in REFUSED.items():
            # An existing method, so that its body is read.
            data = data.replace(b"POST /x", b"POST /shop.v1/echo", 1)
            data = data.replace(b"Host: a\r\n", b"Host: a\r\nContent-Type: application/json\r\n", 1)
            statuses[name] = await statuses_of(address, data + SMUGGLED)
            async with await HttpClient.to(address) as honest:
                answer = await honest.post("/shop.v1/echo", {"text": name}, Host="a")
                assert (answer.status, answer.value) == (200, name)
    # HAProxy repairs some requests: none of these is answered with 200, and the request after it may be.
    assert [
        name for name, found in statuses.items() if found[:1] == [200] or found[1:] not in ([], [200])
    ] == []
    assert sum(found == [400] for found in statuses.values()) > len(REFUSED) // 3
    assert set(service.ways) == {"haproxy"}
