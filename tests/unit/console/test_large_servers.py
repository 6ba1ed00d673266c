"""Servers with many services or long lists of endpoints, which the console reads all the same."""

import json
import socket
from typing import Any

import pytest

import fastrpc
from fastrpc import Client
from fastrpc.console.allowed import AllowedServers
from fastrpc.console.blocks import Text
from fastrpc.console.fleet import Fleet
from fastrpc.console.views.base import Asked
from fastrpc.console.views.server import view
from fastrpc.endpoint import Address
from tests.support.admin_liar import admin_liar, answered
from tests.support.admin_pages import server_with_pages

pytestmark = pytest.mark.one_loop


@fastrpc.service("large")
class Large:
    @fastrpc.method
    async def double(self, number: int) -> int:
        return 2 * number


def figures(**fields: Any) -> bytes:
    begin = {"server": "a", "revision": 1, "started": 1.0, "ready": True, "methods": []}
    return json.dumps({**begin, **fields}).encode()


async def test_a_server_of_thousands_of_services_is_read() -> None:
    services = [{"name": f"s{number}", "version": "1", "state": "SERVING"} for number in range(4_096)]
    records = [{"weight": 1, "configured_weight": 1, "is_out": False}] * 8_192
    with admin_liar(answered(figures(services=services, records=records))) as liar:
        async with Fleet(None, AllowedServers(), targets=[Address.parse(liar.address)]) as fleet:
            await fleet.poll(is_forced=True)
            [server] = fleet.servers.values()
            assert (server.error, server.state) == (None, "ready")


async def test_a_server_with_a_client_of_many_addresses_is_read() -> None:
    others = [f"tcp://a-host-with-a-long-name-{number}.example:1" for number in range(60)]
    async with server_with_pages(Large()) as server:
        [listener] = server._listening.listeners
        async with Client([str(listener.address), *others]) as client:
            await client.call(Large.double, 2)
            assert server.admin.address is not None
            async with Fleet(None, AllowedServers(), targets=[server.admin.address]) as fleet:
                await fleet.poll(is_forced=True)
                [found] = fleet.servers.values()
                assert (found.error, found.endpoints_error) == (None, None)
                targets = {one.target for one in found.endpoints if "a-host" in one.address}
                assert targets == {f"{listener.address}, {others[0]}, {others[1]} and 58 more"}


async def test_a_server_whose_endpoints_cannot_be_read_keeps_its_state() -> None:
    names = {"service": "large", "method": "double", "side": "client", "protocol": "native"}
    numbers = {"in_flight": 0, "received_bytes": 1, "sent_bytes": 1, "sum_seconds": 1.0}
    method = {**names, **numbers, "calls": {"OK": 1}, "buckets": []}

    def lie(peer: socket.socket) -> None:
        is_figures = "/figures" in liar.requests[-1]
        answered(figures(methods=[method]) if is_figures else b"{]", "200 OK", "Connection: close")(peer)

    with admin_liar(lie) as liar:
        async with Fleet(None, AllowedServers(), targets=[Address.parse(liar.address)]) as fleet:
            [server] = fleet.servers.values()
            for _ in range(2):
                server.endpoints_due = 0.0
                await fleet.poll(is_forced=True)
            assert server.state == "ready"
            assert "does not fit" in (server.endpoints_error or "")
            assert fleet.events.last(9) == []
            _, blocks = await view(Asked(fleet, {"server": server.key}, is_detailed=False))
            texts = [block.text for block in blocks if isinstance(block, Text)]
            assert any("old or missing" in text for text in texts)
