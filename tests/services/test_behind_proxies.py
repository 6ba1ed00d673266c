"""The settings of proxies in the guide, at other ports: calls, streams and addresses pass as the page says."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig, current_call
from tests.support.front_proxies import NGINX_FRAME, reached, running
from tests.support.http_talk import HttpClient
from tests.support.pages import blocks_of, file_name
from tests.support.peer_writing import write_to
from tests.support.ports import free_ports
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.one_loop

FILES = {
    file_name(block): block.text
    for block in blocks_of((ROOT / "docs" / "guide" / "proxies.md").read_text(encoding="utf-8"))
}


@fastrpc.service("who")
class Who:
    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    @fastrpc.method
    async def peer(self) -> str:
        return str(current_call().peer.address)

    @fastrpc.method
    async def two(self) -> AsyncIterator[int]:
        yield 1
        await self.may_end.wait()
        yield 2


def placed(text: str, ports: dict[str, int | str]) -> str:
    """Return settings at other ports; each of them has to occur."""
    for old, new in ports.items():
        assert old in text
        text = text.replace(old, str(new))
    return text


def settings_of(kind: str, program: str, folder: Path, back: int, front: int, admin: int) -> list[str]:
    """Write the settings of a proxy, and return its command."""
    settings = folder / "settings.yaml"
    backs = {"127.0.0.1:8972": f"127.0.0.1:{back}"}
    if kind == "nginx":
        site = placed(FILES["nginx.conf"], {**backs, "443 ssl": f"127.0.0.1:{front}"})
        settings.write_text(NGINX_FRAME.format(folder=folder, site=site))
        return [program, "-e", "stderr", "-p", str(folder), "-c", str(settings)]
    if kind == "envoy":
        ports = {"port_value: 8972": f"port_value: {back}", "port_value: 8080": f"port_value: {front}"}
        settings.write_text(placed(FILES["envoy.yaml"], ports))
        return [program, "--disable-hot-restart", "--concurrency", "1", "-c", str(settings)]
    ports = {**backs, "127.0.0.1:8080": f"127.0.0.1:{front}", "port 9000": f"port {admin}"}
    settings.write_text(placed(FILES["haproxy.cfg"], ports))
    return [program, "-db", "-f", str(settings)]


@pytest.mark.parametrize("kind", ["nginx", "haproxy", "envoy"])
async def test_calls_streams_and_addresses_pass(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program = request.getfixturevalue(kind)
    front, admin = free_ports(2)
    config = ServerConfig(
        protocols=("http",),
        http=HTTP(trusted_proxies=("127.0.0.1/32",), allowed_hosts=("api.example",)),
        admin_address=f"tcp://127.0.0.1:{admin}",
    )
    who = Who()
    async with Server(who, config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        command = settings_of(kind, program, tmp_path, address.port, front, admin)
        async with running(command, lambda: reached(front)):
            async with await HttpClient.to(f"tcp://127.0.0.1:{front}", local_addr=("127.0.0.7", 0)) as client:
                answer = await client.post("/who/peer", {}, Host="api.example")
                assert (answer.status, answer.value) == (200, "tcp://127.0.0.7:0")
                reader, writer = await asyncio.open_connection("127.0.0.1", front)
                write_to(
                    writer,
                    b"POST /who/two HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\n"
                    b"Content-Length: 2\r\n\r\n{}",
                )
                # The first message passes while the handler waits.
                async with asyncio.timeout(20):
                    await reader.readuntil(b'{"value":1}')
                    who.may_end.set()
                    await reader.readuntil(b'{"value":2}')
                writer.close()
