"""A published client with generated stubs, of etcd, calls its real server through our channel."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aetcd
import pytest

from fastrpc.grpc import aio
from tests.support.ports import free_ports

pytestmark = pytest.mark.one_loop


@pytest.fixture
def etcd_port(etcd_store_path: str, tmp_path: Path) -> Iterator[int]:
    """The port of a server that has begun to answer."""
    client_port, peer_port = free_ports(2)
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    options = ["--data-dir", str(tmp_path / "data"), "--listen-client-urls", client, "--log-level", "error"]
    options += ["--advertise-client-urls", client, "--listen-peer-urls", peer, "--unsafe-no-fsync"]
    options += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    process = subprocess.Popen([etcd_store_path, *options], stderr=subprocess.DEVNULL)
    try:
        yield client_port
    finally:
        process.kill()
        process.wait()


async def test_it_writes_reads_watches_and_leases(etcd_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aetcd.rpc, "insecure_channel", aio.insecure_channel)
    async with aio.insecure_channel(f"127.0.0.1:{etcd_port}") as channel, asyncio.timeout(20):
        await channel.channel_ready()
    async with asyncio.timeout(60), aetcd.Client(host="127.0.0.1", port=etcd_port, timeout=20) as client:
        seen: list[Any] = []
        watch = await client.watch(b"tea")

        async def follow() -> None:
            async for event in watch:
                seen.append((event.kind, event.kv.value))
                if len(seen) == 2:
                    return

        following = asyncio.ensure_future(follow())
        lease = await client.lease(60)
        await client.put(b"tea", b"black", lease=lease)
        assert (await client.get(b"tea")).value == b"black"
        assert await lease.remaining_ttl() > 50
        await client.put(b"tea", b"green")
        await following
        assert seen == [("PUT", b"black"), ("PUT", b"green")]
        assert [found.key async for found in aiter_of(await client.get_prefix(b"t"))] == [b"tea"]
        changed, _ = await client.transaction(
            compare=[client.transactions.value(b"tea") == b"green"],
            success=[client.transactions.put(b"tea", b"white")],
            failure=[],
        )
        assert changed
        assert await client.delete(b"tea")
        assert await client.get(b"tea") is None


async def aiter_of(found: Any) -> Any:
    for one in found:
        yield one
