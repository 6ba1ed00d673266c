"""A published client with generated stubs, of etcd, calls its real server through our channel."""

import asyncio
from typing import Any

import aetcd
import pytest

from fastrpc.grpc import aio
from tests.support.registry_servers import EtcdServer

pytestmark = pytest.mark.one_loop


async def test_it_writes_reads_watches_and_leases(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aetcd.rpc, "insecure_channel", aio.insecure_channel)
    async with aio.insecure_channel(f"127.0.0.1:{etcd.port}") as channel, asyncio.timeout(20):
        await channel.channel_ready()
    async with asyncio.timeout(60), aetcd.Client(host="127.0.0.1", port=etcd.port, timeout=20) as client:
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
