"""The broker over a cluster of NATS, which loses one server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import fastrpc
from fastrpc.brokers import Topic, open_broker
from fastrpc.errors import BrokerError
from tests.support.ports import free_ports
from tests.support.registry_servers import NatsServer

pytestmark = pytest.mark.one_loop

ORDERS = Topic("orders.new", int, max_bytes=1024 * 1024)


@pytest.fixture
async def cluster(nats_path: str, tmp_path: Path) -> AsyncIterator[list[NatsServer]]:
    """Three servers that know each other."""
    ports = free_ports(3)
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    with contextlib.ExitStack() as stack:
        servers = []
        for port in ports:
            folder = tmp_path / str(port)
            folder.mkdir()
            options = ["-cluster_name", "c", "-cluster", f"nats://127.0.0.1:{port}", "-routes", routes]
            server = NatsServer(nats_path, folder, options=["-n", f"n{port}", *options])
            await asyncio.to_thread(stack.enter_context, server.running())
            servers.append(server)
        yield servers


async def test_three_copies_outlive_a_server(cluster: list[NatsServer]) -> None:
    places = ",".join(f"127.0.0.1:{server.port}" for server in cluster)
    async with open_broker(f"nats://{places}?replicas=3") as broker:
        async with asyncio.timeout(50):
            while True:
                # The servers elect a leader first.
                with contextlib.suppress(BrokerError):
                    await broker.declare(ORDERS)
                    break
        with fastrpc.timeout(30):
            for number in range(20):
                await broker.publish(ORDERS, number, id=f"order-{number}")
        await asyncio.to_thread(cluster[0].kill)
        with fastrpc.timeout(30):
            await broker.publish(ORDERS, 20, id="order-20")
            async with broker.subscribe(ORDERS, group="a", start="oldest") as messages:
                found = [(await anext(messages)).value for _ in range(21)]
        assert found == [*range(21)]
