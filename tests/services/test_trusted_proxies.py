"""`HTTP(trusted_proxies=…)` with HAProxy and nginx, which share connections to the server among their clients."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Identity, Server, ServerConfig, Timeouts, current_call
from fastrpc.auth import StaticTokens
from fastrpc.handlers.auth import failed_logins
from fastrpc.limits import RateLimit
from tests.support.front_proxies import haproxy, nginx, reached
from tests.support.http_talk import HttpClient, Response
from tests.support.ports import free_ports

pytestmark = pytest.mark.one_loop


@fastrpc.service("who")
class Who:
    @fastrpc.method(public=True)
    async def peer(self) -> str:
        return str(current_call().peer.address)

    @fastrpc.method
    async def name(self) -> str:
        identity = current_call().identity
        return "" if identity is None else identity.name


Front = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture(params=["haproxy", "nginx"])
def front(request: pytest.FixtureRequest) -> Front:
    """Runs a proxy that appends the address of its client."""
    program = request.getfixturevalue(request.param)
    if request.param == "haproxy":
        return partial(haproxy, program, rule="option forwardfor", options="maxconn 1")
    return partial(nginx, program, rule="proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;")


@asynccontextmanager
async def behind(front: Front, folder: Path, **options: Any) -> AsyncIterator[int]:
    """Serve behind a proxy; give the port of its front."""
    port, back = free_ports(1)[0], folder / "back"
    config = ServerConfig(
        protocols=("http",), http=HTTP(trusted_proxies=("unix",)), timeouts=Timeouts(drain=0.1)
    )
    async with Server(Who(), config=config, **options) as server:
        await server.listen(f"unix://{back}")
        settings = folder / "proxy.conf"
        address = f"127.0.0.1:{port}"
        async with front(settings, front=address, back=back, is_reached=lambda: reached(port)):
            yield port


async def asked(port: int, host: str, path: str = "/who/peer", **fields: str) -> Response:
    """Make a call from an address of this machine."""
    async with await HttpClient.to(f"tcp://127.0.0.1:{port}", local_addr=(host, 0)) as client:
        return await client.post(path, {}, **fields)


async def test_limits_see_the_clients_of_a_shared_connection(front: Front, tmp_path: Path) -> None:
    async with behind(front, tmp_path, limits=[RateLimit(0.001, burst=2, per="peer")]) as port:
        found = [await asked(port, f"127.0.0.{host}") for host in (4, 5, 4, 5, 4, 5)]
        assert [one.status for one in found] == [200, 200, 200, 200, 429, 429]
        assert [one.value for one in found[:2]] == ["tcp://127.0.0.4:0", "tcp://127.0.0.5:0"]
        # A proxy appends: the client's own entry comes further left.
        for spoofed in ("127.0.0.9", "127.0.0.9, unknown", "127.0.0.9,127.0.0.8"):
            assert (await asked(port, "127.0.0.4", X_Forwarded_For=spoofed)).status == 429
        assert (await asked(port, "127.0.0.4", Forwarded="for=127.0.0.9")).status == 429
        assert (await asked(port, "127.0.0.6", X_Forwarded_For="127.0.0.4")).value == "tcp://127.0.0.6:0"


async def test_the_delay_of_failed_logins_is_counted_for_the_client(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 1_000.0)
    async with behind(front, tmp_path, authenticate=StaticTokens({"good": Identity("ada")})) as port:
        for _ in range(failed_logins.MOST_FAILURES):
            assert (await asked(port, "127.0.0.4", "/who/name", Authorization="Bearer wrong")).status == 401
        late = await asked(port, "127.0.0.4", "/who/name", Authorization="Bearer wrong", Timeout_Ms="50")
        assert late.status == 504
        assert (await asked(port, "127.0.0.5", "/who/name", Authorization="Bearer wrong")).status == 401
        assert (await asked(port, "127.0.0.5", "/who/name", Authorization="Bearer good")).value == "ada"
