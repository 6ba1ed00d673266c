"""Clients whose loop stood still until the server had closed their connection: the next call is not lost."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ServerConfig
from fastrpc.config import Keepalive
from tests.support.certificates import Authority
from tests.support.threaded_server import ThreadedServer

KEEPALIVE = Keepalive(interval=0.2, timeout=0.2)


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.orders = 0

    @fastrpc.method
    async def order(self, note: str = "") -> int:
        self.orders += 1
        return self.orders


def stand_until_closed(server: ThreadedServer) -> None:
    """Block this thread, and with it the loop of the client, while the server has a connection."""

    async def count() -> Any:
        return server.server.stats()["live"]["connections"]

    ends = time.monotonic() + 30
    while asyncio.run_coroutine_threadsafe(count(), server.loop).result(30):
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.parametrize("scheme", ["tcp", "tls", "unix", "grpc", "grpcs"])
async def test_a_call_after_a_standstill_runs_once(tmp_path: Path, scheme: str) -> None:
    authority = Authority(tmp_path)
    certificate = authority.certificate()
    is_encrypted = scheme in ("tls", "grpcs")
    config = ServerConfig(
        protocols=("native", "grpc"), keepalive=KEEPALIVE, tls=certificate.tls() if is_encrypted else None
    )
    places = {"tcp": "tcp://127.0.0.1:0", "tls": "tls://127.0.0.1:0", "unix": f"unix://{tmp_path}/socket"}
    transport = {"grpc": "tcp", "grpcs": "tls"}.get(scheme, scheme)
    own = fastrpc.ClientConfig(tls=fastrpc.TLS(ca_file=authority.cert_file) if is_encrypted else None)
    with ThreadedServer(shop := Shop(), config=config, listen=places[transport]) as server:
        target = str(server.address).replace(transport, scheme, 1)
        async with Client(target, config=own) as client:
            await client.call("shop.order")
            stand_until_closed(server)
            await client.call("shop.order")
    assert shop.orders == 2


@pytest.mark.parametrize("protocol", ["native", "grpc"])
async def test_a_long_call_after_a_standstill_runs_once(tmp_path: Path, protocol: str) -> None:
    config = ServerConfig(protocols=("native", "grpc"), keepalive=KEEPALIVE)
    own = fastrpc.ClientConfig(wire_protocol=protocol)
    with ThreadedServer(shop := Shop(), config=config, listen=f"unix://{tmp_path}/socket") as server:
        async with Client(str(server.address), config=own) as client:
            await client.call(Shop.order)
            stand_until_closed(server)
            # The first write is longer than what is sent past the transport.
            await client.call(Shop.order, "x" * 300_000)
    assert shop.orders == 2
