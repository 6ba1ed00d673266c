"""`Addresses` and `ConnectionRate` of a server: refused connections are closed, before anything of them is served."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Client, ConfigError, Server, ServerConfig
from fastrpc._core.base.histogram import REFUSALS
from fastrpc.config import Limits, Timeouts
from fastrpc.limits import Addresses, ConnectionRate
from tests.support.certificates import Authority
from tests.support.descriptors import descriptors_come_back_to, open_descriptors
from tests.support.edged import connected, is_served
from tests.support.header_proxy import header, proxied
from tests.support.http_talk import HttpClient, request
from tests.support.peer_writing import write_to
from tests.support.served import served
from tests.support.waiting import eventually

DENIED = [Addresses(deny=["127.0.0.2/32"])]


@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def am_i(self) -> str:
        return str(fastrpc.current_call().peer.address.host)


def serving(*limits: Any, address: str = "tcp://127.0.0.1:0", **options: Any) -> Any:
    @contextlib.asynccontextmanager
    async def served_at() -> AsyncIterator[tuple[Server, int]]:
        config = ServerConfig(protocols=("native", "http"), timeouts=Timeouts(drain=0.1), **options)
        async with Server(Who(), config=config, limits=limits) as server:
            yield server, (await server.listen(address)).port

    return served_at()


async def test_a_denied_address_is_closed_and_other_addresses_are_served() -> None:
    before = REFUSALS["address"]
    async with serving(*DENIED) as (server, port):
        assert [await is_served(port, f"127.0.0.{host}") for host in (1, 2, 3, 2)] == [
            True,
            False,
            True,
            False,
        ]
        assert REFUSALS["address"] - before == 2
        async with Client(f"tcp://127.0.0.1:{port}") as client:
            assert await client.call("who.am_i") == "127.0.0.1"
        await eventually(lambda: server.peers() == [])


async def test_with_allowed_networks_all_other_addresses_are_denied() -> None:
    async with serving(Addresses(allow=["127.0.0.3/32"])) as (_, port):
        assert [await is_served(port, f"127.0.0.{host}") for host in (1, 3)] == [False, True]


async def test_an_address_connects_at_its_rate() -> None:
    before = REFUSALS["connection_rate"]
    async with serving(ConnectionRate(0.001, burst=2)) as (_, port):
        hosts = (1, 1, 1, 2, 1, 2, 2)
        assert [await is_served(port, f"127.0.0.{host}") for host in hosts] == [
            *(True, True, False, True),
            *(False, True, False),
        ]
    assert REFUSALS["connection_rate"] - before == 3


async def test_refused_connections_hold_nothing() -> None:
    async with serving(*DENIED, limits=Limits(connections=1)) as (server, port):
        async with connected(port, "127.0.0.3") as (reader, writer):
            write_to(writer, request("GET", "/"))
            assert await reader.read(100)
            before = open_descriptors()
            for _ in range(50):
                assert not await is_served(port, "127.0.0.2")
            assert await descriptors_come_back_to(before)
            # The place of the one that is served was never asked for.
            assert len(server.peers()) == 1
            assert await is_still_served(reader, writer)


async def is_still_served(reader: Any, writer: Any) -> bool:
    write_to(writer, request("GET", "/"))
    return bool(await reader.read(100))


async def test_a_denied_address_sees_no_certificate(tmp_path: Path) -> None:
    tls = Authority(tmp_path).certificate("DNS:localhost").tls()
    before = REFUSALS["handshake"]
    async with serving(*DENIED, address="tls://127.0.0.1:0", tls=tls) as (_, port):
        assert not await is_served(port, "127.0.0.2")
    assert REFUSALS["handshake"] == before


async def test_refusals_are_reported_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastrpc.server")
    async with serving(*DENIED) as (_, port):
        for _ in range(4):
            await is_served(port, "127.0.0.2")
        told = [one for one in caplog.records if getattr(one, "event", "") == "edge_refused"]
        assert [(one.levelname, one.getMessage()) for one in told] == [
            (
                "WARNING",
                "refused by Addresses or ConnectionRate: 1, the last of 127.0.0.2: it is not allowed (Addresses)",
            )
        ]
    told = [one for one in caplog.records if getattr(one, "event", "") == "edge_refused"]
    assert "ConnectionRate: 3, the last of" in told[1].getMessage()


@pytest.mark.parametrize("scheme", ["unix", "memory"])
async def test_other_transports_pass(scheme: str) -> None:
    limits = [Addresses(allow=["10.0.0.0/8"]), ConnectionRate(0.001, per="server")]
    async with served(Who(), scheme=scheme, limits=limits) as target:
        for _ in range(2):
            async with Client(target) as client:
                await client.call("who.am_i")


async def test_ipv6_addresses_count_by_ipv6_networks() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    limits = [Addresses(deny=["0.0.0.0/0"]), ConnectionRate(0.001)]
    async with served(Who(), limits=limits) as target:
        try:
            address = await target.server.listen("tcp://[::1]:0")
        except OSError:
            pytest.skip("this machine has no ::1")
        async with Client(str(address)) as client:
            assert await client.call("who.am_i") == "::1"
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("::1", address.port)
            assert await reader.read(100) == b""
            writer.close()


# Behind proxies


@pytest.mark.parametrize(
    ("told", "is_taken"),
    [("10.0.0.1", False), ("11.0.0.1", True), ("2001:db8::1", False), ("2001:db9::1", True)],
)
async def test_behind_the_proxy_protocol_the_stated_address_counts(told: str, is_taken: bool) -> None:
    limits = [Addresses(deny=["10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32"])]
    config = ServerConfig(proxy_protocol=("127.0.0.0/8",))
    before = REFUSALS["address"]
    async with served(Who(), scheme="tcp", config=config, limits=limits) as target:
        async with proxied(target, header(told)) as place, Client(place) as client:
            view = client.with_options(timeout=5, fail_mode="failfast")
            if is_taken:
                assert await view.call("who.am_i") == told
            else:
                with pytest.raises(fastrpc.UnavailableError):
                    await view.call("who.am_i")
    assert (REFUSALS["address"] > before) is not is_taken


async def test_a_rate_counts_the_told_addresses() -> None:
    async with serving(ConnectionRate(0.001), proxy_protocol=("127.0.0.0/8",)) as (_, port):
        told = [await is_served(port, first=header(f"10.0.0.{host}")) for host in (1, 2, 1)]
        assert told == [True, True, False]
        # The connections of the proxy itself.
        assert all([await is_served(port, first=b"PROXY UNKNOWN\r\n") for _ in range(3)])


async def test_requests_of_a_trusted_proxy_are_judged_by_their_clients() -> None:
    limits = [Addresses(allow=["1.2.0.0/16"]), ConnectionRate(0.001, burst=2)]
    http = HTTP(trusted_proxies=("127.0.0.0/8",), websocket=True, jsonrpc=True)
    async with serving(*limits, http=http) as (_, port):
        async with await HttpClient.to(f"tcp://127.0.0.1:{port}") as client:

            async def asked(told: str | None, path: str = "/who/am_i") -> Any:
                return await client.post(path, {}, X_Forwarded_For=told)

            assert [(await asked(f"1.2.3.{host}")).status for host in (4, 4, 4, 5)] == [200, 200, 429, 200]
            assert "Retry-After" in await asked("1.2.3.4")
            for path in ("/who/am_i", "/unknown", "/jsonrpc"):
                assert (await asked("9.9.9.9, 1.3.0.1", path)).status == 403
            # Its own requests, as those for its health.
            assert [(await asked(None)).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(("limit", "status"), [(Addresses(allow=["1.2.0.0/16"]), 403), (DENIED[0], 200)])
@pytest.mark.parametrize(
    "told",
    [
        "unknown",
        "unix:",
        "fe80::1%eth0",
        "1.2.3.4, 1.2.3.4:1234567",
        "unknown, 127.0.0.2",
        "1.2.3.4, ,127.0.0.2",
        "1.2.3.4" + ", 127.0.0.2" * 10,
    ],
)
async def test_a_client_that_a_proxy_does_not_name_is_in_no_list(
    limit: Addresses, status: int, told: str
) -> None:
    http = HTTP(trusted_proxies=("127.0.0.0/8",))
    async with serving(limit, http=http) as (_, port):
        async with await HttpClient.to(f"tcp://127.0.0.1:{port}") as client:
            assert (await client.post("/who/am_i", {}, X_Forwarded_For=told)).status == status


async def test_a_mount_sees_no_refused_client() -> None:
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(scope["client"][0])
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    http = HTTP(trusted_proxies=("127.0.0.0/8",), mounts={"/": application})
    async with serving(Addresses(deny=["1.2.3.4/32"]), http=http) as (_, port):
        async with await HttpClient.to(f"tcp://127.0.0.1:{port}") as client:
            statuses = [
                (await client.post("/a", {}, X_Forwarded_For=f"1.2.3.{host}")).status for host in (4, 5)
            ]
            assert statuses == [403, 204]
            long = await client.post("/a", b"a" * 1_000_000, X_Forwarded_For="1.2.3.4")
            assert long.status == 403
    assert seen == ["1.2.3.5"]


async def test_fields_of_a_stranger_name_no_client() -> None:
    async with serving(Addresses(deny=["1.2.3.4/32"]), http=HTTP(trusted_proxies=("10.0.0.0/8",))) as (
        _,
        port,
    ):
        async with await HttpClient.to(f"tcp://127.0.0.1:{port}") as client:
            assert (await client.post("/who/am_i", {}, X_Forwarded_For="1.2.3.4")).status == 200


# Life of the listener


async def test_a_drain_takes_the_connections_that_wait() -> None:
    async with serving(*DENIED) as (server, port):
        good = socket.create_connection(("127.0.0.1", port))
        bad = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
        with good, bad:
            good.sendall(request("POST", "/who/am_i", {}))
            assert await server.drain(5)
            assert good.recv(15).startswith(b"HTTP/1.1 200")
            with contextlib.suppress(ConnectionError):
                assert bad.recv(15) == b""


async def test_accepting_continues_once_there_are_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastrpc.transports import edge

    monkeypatch.setattr(edge, "PAUSE_SECONDS", 0.01)
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    accept, failures = edge.accept_judged, [OSError(24, "Too many open files")]

    def scarce(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return accept(*arguments)

    monkeypatch.setattr(edge, "accept_judged", scarce)
    async with serving(*DENIED) as (_, port):
        assert await is_served(port)
    assert [context["message"] for context in reported] == ["a connection could not be accepted"]


def test_an_asgi_application_accepts_no_connections() -> None:
    for limit in (DENIED[0], ConnectionRate(1)):
        with pytest.raises(
            ConfigError, match=f"call_limits has {type(limit).__name__}, but an ASGI application"
        ):
            fastrpc.asgi(Who, call_limits=[limit])
