"""The admin pages over HTTP: their figures match the calls made."""

import asyncio
import contextlib
import http.client
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

import fastrpc
from fastrpc import CallError, Client, Identity, Server, ServerConfig, Status
from fastrpc.config import TLS
from fastrpc.gauges import tells_gauges
from fastrpc.registries.base.backed import BackedRegistry
from tests.support.admin_pages import fetch, page, server_with_pages, speak
from tests.support.certificates import Authority
from tests.support.fake_registry import FakeLease, FakeLookup, away, entries
from tests.support.scrapes import samples_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

PAGES = (
    *("/", "/metrics", "/calls", "/connections", "/services", "/config", "/store"),
    *("/endpoints", "/ended", "/logs", "/figures", "/stacks"),
)
JSON = {"Accept": "application/json"}


@fastrpc.service("paged")
class Paged:
    def __init__(self) -> None:
        self.go = asyncio.Event()

    @fastrpc.method
    async def find(self, number: int) -> int:
        if number < 0:
            raise CallError(Status.NOT_FOUND, "no such number")
        return number

    @fastrpc.method
    async def wait(self) -> None:
        await self.go.wait()


def target_of(server: Server) -> str:
    return str(server._listening.listeners[0].address)


async def test_the_page_of_metrics_equals_the_calls_made() -> None:
    async with server_with_pages(Paged()) as server, Client(target_of(server)) as client:
        before = samples_of((await page(server, "/metrics")).text)
        for number in [1] * 7 + [-1] * 3:
            with contextlib.suppress(CallError):
                await client.call(Paged.find, number)
        with pytest.raises(CallError):
            await client.call("paged.nothing")
        answer = await page(server, "/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        after = samples_of(answer.text)

    def made(service: str, method: str, status: str) -> float:
        labels = {"service": service, "method": method, "status": status, "protocol": "native"}
        key = ("fastrpc_server_calls_total", frozenset(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    assert made("paged", "find", "OK") == 7
    assert made("paged", "find", "NOT_FOUND") == 3
    assert made("_other", "_other", "UNIMPLEMENTED") == 1
    # No line comes twice, or Prometheus would refuse the whole scrape.
    lines = [line.rpartition(" ")[0] for line in answer.text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


async def test_a_server_without_connections_shows_the_gauge_of_connections() -> None:
    async with server_with_pages(Paged(), protocols=("native",)) as server:
        text = (await page(server, "/metrics")).text
        assert 'fastrpc_server_connections{protocol="native",transport="tcp"}' in text


async def test_the_programs_own_metrics_are_on_the_page() -> None:
    own = prometheus_client.Counter("orders_shipped", "Of the program itself.")
    try:
        own.inc(3)
        async with server_with_pages(Paged()) as server:
            found = samples_of((await page(server, "/metrics")).text)
            assert found["orders_shipped_total", frozenset()] == 3
            # Where the program registered our collector itself, nothing comes twice.
            ours = fastrpc.metrics.collector()
            prometheus_client.REGISTRY.register(ours)
            try:
                text = (await page(server, "/metrics")).text
                assert text.count("# TYPE fastrpc_server_calls_total counter") == 1
            finally:
                prometheus_client.REGISTRY.unregister(ours)
    finally:
        prometheus_client.REGISTRY.unregister(own)


async def test_objects_that_cannot_report_their_gauges_leave_other_gauges_complete() -> None:
    class Torn:
        def gauges(self) -> Iterator[Any]:
            raise RuntimeError("dictionary changed size during iteration")

    torn = Torn()
    tells_gauges(torn)
    async with server_with_pages(Paged()) as server, Client(target_of(server)) as client:
        await client.call(Paged.find, 1)
        answer = await page(server, "/metrics")
        assert answer.status == 200
        assert 'fastrpc_server_connections{protocol="native",transport="tcp"}' in answer.text


async def calls_of(server: Server) -> list[dict[str, Any]]:
    """Return the calls that the page shows."""
    calls: list[dict[str, Any]] = (await page(server, "/calls", **JSON)).json["calls"]
    return calls


async def test_the_page_of_calls_shows_those_that_live() -> None:
    service = Paged()

    async def known(call: Any, proceed: Any) -> Any:
        call.identity = Identity("ada")
        return await proceed(call)

    config = ServerConfig(admin_address="tcp://127.0.0.1:0")
    async with Server(service, config=config, interceptors=[known]) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with Client(target_of(server)) as client:
            waiting = asyncio.ensure_future(client.with_options(timeout=30).call(Paged.wait))
            async with asyncio.timeout(20):
                # Before it runs it waits for its interceptors.
                while not (found := await calls_of(server)) or found[0]["state"] != "running":
                    await asyncio.sleep(0)
            (call,) = found
            assert (call["method"], call["state"], call["identity"]) == ("paged.wait", "running", "ada")
            assert call["age_seconds"] >= 0
            assert 0 < call["remaining_seconds"] <= 30
            assert call["peer"].startswith("tcp://127.0.0.1:")
            assert call["protocol"] == "native"
            service.go.set()
            await waiting
            assert (await page(server, "/calls", **JSON)).json == {"total": 0, "calls": []}


async def test_the_page_of_connections_shows_each_peer() -> None:
    async with server_with_pages(Paged()) as server:
        assert (await page(server, "/connections", **JSON)).json["total"] == 0
        async with Client(target_of(server)) as client:
            await client.call(Paged.find, 1)
            (found,) = (await page(server, "/connections", **JSON)).json["connections"]
            assert found["peer"] == str(server.peers()[0])
            assert (found["protocol"], found["calls"], found["identity"]) == ("native", 0, None)


async def test_the_page_of_services_shows_methods_and_health() -> None:
    async with server_with_pages(Paged()) as server:
        server.set_serving(False, service="paged")
        (found,) = (await page(server, "/services", **JSON)).json["services"]
        assert (found["name"], found["state"]) == ("paged", "NOT_SERVING")
        assert found["methods"] == ["find(number: int) -> int", "wait() -> None"]


async def test_the_index_has_the_figures_of_each_method() -> None:
    async with server_with_pages(Paged()) as server, Client(target_of(server)) as client:
        first = (await page(server, "/", **JSON)).json
        before = {row["method"]: row["ended"] for row in first["methods"] if row["service"] == "paged"}
        for number in [1] * 4 + [-1]:
            with contextlib.suppress(CallError):
                await client.call(Paged.find, number)
        found = (await page(server, "/", **JSON)).json
        (row,) = [row for row in found["methods"] if (row["service"], row["method"]) == ("paged", "find")]
        assert row["ended"] - before.get("find", 0) == 5
        assert sum(row["calls"].values()) == row["ended"]
        assert row["calls"]["NOT_FOUND"] >= 1
        assert 0 < row["p50"] <= row["p95"] <= row["p99"]
        assert (found["ready"], found["draining"], found["connections"]) == (True, False, 1)


async def test_pages_for_people_load_nothing_from_elsewhere() -> None:
    async with server_with_pages(Paged()) as server:
        for path in ("/", "/calls", "/connections", "/services", "/config", "/store"):
            answer = await page(server, path, Accept="text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "http://" not in answer.text
            assert "https://" not in answer.text
            assert "//" not in answer.text.replace("tcp://", "")


@pytest.mark.parametrize(
    ("accepted", "kind"),
    [
        ("application/json", "json"),
        ("APPLICATION/JSON", "json"),
        ("application/json, text/plain, */*", "json"),
        ("text/html;q=0.5, application/json", "json"),
        ("application/json;charset=utf-8;q=1", "json"),
        ("text/html, application/json;q=0.9", "html"),
        ("text/html, application/json;q=0", "html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/calls", "/config"])
async def test_a_page_has_the_form_that_its_reader_prefers(path: str, accepted: str, kind: str) -> None:
    async with server_with_pages(Paged()) as server:
        answer = await page(server, path, Accept=accepted)
        assert kind in answer.headers["Content-Type"]


async def test_a_name_in_a_page_is_text() -> None:
    @fastrpc.service("named")
    class Named:
        @fastrpc.method
        async def same(self, text: str = "<script>alert(1)</script>") -> str:
            return text

    async with server_with_pages(Named()) as server:
        answer = await page(server, "/services", Accept="text/html")
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;alert" in answer.text


@pytest.mark.parametrize("path", [*PAGES, "/livez", "/readyz"])
async def test_a_head_request_gets_the_same_head(path: str) -> None:
    async with server_with_pages(Paged()) as server:
        head = await page(server, path, "HEAD")
        assert (head.status, head.content) == (200, b"")
        assert head.headers["Cache-Control"] == "no-store"
        assert head.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_pages_are_only_read(method: str) -> None:
    async with server_with_pages(Paged()) as server:
        answer = await page(server, "/calls", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/nothing", "//", "/calls/", "/../calls", "/%63alls", "/metrics/x"])
async def test_another_path_is_not_found(path: str) -> None:
    async with server_with_pages(Paged()) as server:
        assert (await page(server, path)).status == 404


async def test_one_connection_serves_many_pages() -> None:
    async with server_with_pages(Paged()) as server:
        assert server.admin.address is not None
        connection = http.client.HTTPConnection("127.0.0.1", server.admin.address.port, timeout=10)

        def ask() -> list[int]:
            statuses = []
            for path in PAGES * 3:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            connection.close()
            return statuses

        assert await asyncio.to_thread(ask) == [200] * len(PAGES) * 3


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with server_with_pages(Paged()) as server:
        assert server.admin.address is not None
        wanted = ["/livez", "/metrics", "/nothing", "/calls", "/metrics", "/livez"]
        data = b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in wanted[:-1])
        data += b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await asyncio.to_thread(speak, server.admin.address.port, data)
        statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [200, 200, 404, 200, 200, 200]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_reads_a_page_over_a_unix_socket(tmp_path: Path) -> None:
    async with server_with_pages(Paged(), address=f"unix://{tmp_path}/admin.sock"):
        command = ["curl", "-sf", "--unix-socket", f"{tmp_path}/admin.sock", "http://anything/calls"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        assert b'"total": 0' in done.stdout


async def test_pages_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls: TLS = authority.certificate().tls(authority)
    async with server_with_pages(Paged(), address="tls://localhost:0", tls=tls) as server:
        assert server.admin.address is not None

        def ask() -> int:
            assert tls.ca_file is not None
            context = ssl.create_default_context(cafile=str(tls.ca_file))
            context.set_alpn_protocols(["http/1.1"])
            port = server.admin.address.port  # type: ignore[union-attr]
            connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=context)
            with contextlib.closing(connection):
                connection.request("GET", "/livez")
                return connection.getresponse().status

        assert await asyncio.to_thread(ask) == 200


# Probes


async def test_a_server_is_ready_while_it_serves() -> None:
    config = ServerConfig(admin_address="tcp://127.0.0.1:0")
    async with Server(Paged(), config=config) as server:
        assert server.admin.address is not None
        port = server.admin.address.port

        async def probes() -> tuple[int, int]:
            livez, readyz = [await asyncio.to_thread(fetch, port, path) for path in ("/livez", "/readyz")]
            assert livez.content == readyz.content == b""
            return livez.status, readyz.status

        assert await probes() == (200, 503)
        await server.listen("tcp://127.0.0.1:0")
        assert await probes() == (200, 200)
        server.set_serving(False)
        assert await probes() == (200, 503)
        server.set_serving(True)
        assert await probes() == (200, 200)


async def test_a_draining_server_lives_and_is_not_ready() -> None:
    service = Paged()
    async with server_with_pages(service) as server, Client(target_of(server)) as client:
        assert server.admin.address is not None
        port = server.admin.address.port
        waiting = asyncio.ensure_future(client.with_options(timeout=30).call(Paged.wait))
        await eventually(lambda: server.stats()["live"]["calls"] == 1)
        draining = asyncio.ensure_future(server.drain())
        await eventually(lambda: server.is_draining)
        assert (await asyncio.to_thread(fetch, port, "/livez")).status == 200
        assert (await asyncio.to_thread(fetch, port, "/readyz")).status == 503
        service.go.set()
        await asyncio.gather(waiting, draining)
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(fetch, port, "/livez")


class FakeBackend:
    def __init__(self, lease: FakeLease) -> None:
        self.lease = lease

    def open_lookup(self, service: str) -> Any:
        return FakeLookup(entries(1))

    def open_lease(self, service: str, endpoint: Any) -> Any:
        return self.lease

    def list_services(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("needs", [False, True])
async def test_a_lost_registration_counts_where_it_is_needed(needs: bool) -> None:
    lease = FakeLease()
    lease.trouble = away()
    registry = BackedRegistry(FakeBackend(lease), "fake://registry:3")
    config = ServerConfig(admin_address="tcp://127.0.0.1:0", ready_needs_registry=needs)
    async with Server(Paged(), config=config, registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0")
        assert (await page(server, "/readyz")).status == (503 if needs else 200)
        lease.trouble = None
        async with asyncio.timeout(20):
            while (await page(server, "/readyz")).status != 200:
                await asyncio.sleep(0.05)
    await registry.aclose()
