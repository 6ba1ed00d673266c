"""The peers of mounted applications: their fields in a scope, over TLS and behind proxies, and their rights."""

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Identity, Keepalive
from fastrpc.auth import StaticTokens
from fastrpc.limits import RateLimit
from fastrpc_harness.checking import check
from tests.support.certificates import Authority
from tests.support.header_proxy import header
from tests.support.http_talk import HttpClient, request
from tests.support.mounted import mounted, part, start, whole_body
from tests.support.socket_client import KEY, SocketClient, handshake
from tests.support.socket_frames import PING, PONG, TEXT, client_frame
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

SECOND = 1_000_000_000
TOKENS = StaticTokens({"ada-token": Identity("ada"), "bob-token": Identity("bob")})
PROXIES = {"proxy_protocol": ("127.0.0.0/8",)}


class Scopes:
    """An application that keeps scopes, answers requests, and sends messages of WebSockets back."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.left: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] in ("http", "websocket")
        self.seen.append(scope)
        if scope["type"] == "http":
            await whole_body(receive)
            await send(start())
            await send(part(b"ok"))
            return
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
        self.left.append(event)


# Scopes


async def test_scope_of_a_websocket_has_each_field_of_the_specification() -> None:
    app = Scopes()
    async with mounted({"/shop": app}) as client:
        talk = SocketClient(client)
        fields = {"X_Mixed": "Ä", "X_Request_Id": "mine-7"}
        assert (await talk.open("/shop/a%20b?q=%201", protocols="a, b", **fields)).status == 101
        (scope,) = app.seen
        port = client.writer.get_extra_info("sockname")[1]
        server = client.writer.get_extra_info("peername")[:2]
    extensions = scope.pop("extensions")
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/shop/a b",
        "raw_path": b"/shop/a%20b",
        "query_string": b"q=%201",
        "root_path": "/shop",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"upgrade", b"websocket"),
            (b"connection", b"keep-alive, Upgrade"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", KEY.encode()),
            (b"sec-websocket-protocol", b"a, b"),
            (b"x-mixed", "Ä".encode("latin-1")),
            (b"x-request-id", b"mine-7"),
        ],
        "client": ("127.0.0.1", port),
        "server": server,
        "subprotocols": ["a", "b"],
        "state": {},
    }
    assert extensions.pop("websocket.http.response") == {}
    peer = extensions["fastrpc"].pop("peer")
    assert (str(peer), peer.protocol) == (f"tcp://127.0.0.1:{port}", "asgi")
    assert extensions == {"fastrpc": {"identity": None, "request_id": "mine-7"}}


async def test_scope_of_a_websocket_at_a_unix_socket(tmp_path: Path) -> None:
    app = Scopes()
    async with mounted(app, address=f"unix://{tmp_path}/mounts") as client:
        assert (await SocketClient(client).open("/")).status == 101
    (scope,) = app.seen
    assert (scope["scheme"], scope["client"], scope["server"]) == ("ws", None, (f"{tmp_path}/mounts", None))


async def test_schemes_over_tls_are_https_and_wss(tmp_path: Path) -> None:
    authority, app = Authority(tmp_path), Scopes()
    trusting = ssl.create_default_context(cafile=str(authority.cert_file))
    async with mounted(
        app,
        config={"tls": authority.certificate().tls()},
        address="tls://127.0.0.1:0",
        connection={"ssl": trusting},
    ) as client:
        assert (await client.get("/page", X_Forwarded_Proto="http")).body == b"ok"
        # On the same connection.
        talk = SocketClient(client)
        assert (await talk.open("/talk", X_Forwarded_Proto="ws")).status == 101
        client.send(client_frame(TEXT, b"over tls"))
        assert (await talk.frame()).content == b"over tls"
        port = client.writer.get_extra_info("sockname")[1]
        server = client.writer.get_extra_info("peername")[:2]
    assert [(scope["type"], scope["scheme"], scope["path"]) for scope in app.seen] == [
        ("http", "https", "/page"),
        ("websocket", "wss", "/talk"),
    ]
    for scope in app.seen:
        assert (scope["client"], scope["server"]) == (("127.0.0.1", port), server)
        assert str(scope["extensions"]["fastrpc"]["peer"]) == f"tls://127.0.0.1:{port}"


# Keepalive


def at(engine: Any, seconds: float) -> None:
    """Have a connection look at its times, the given number of seconds from now."""
    check(engine, time.monotonic_ns() + round(seconds * SECOND))


async def test_a_silent_websocket_is_asked_and_dropped_by_the_times_of_keepalive() -> None:
    app = Scopes()
    async with mounted(app, config={"keepalive": Keepalive(interval=20, timeout=30)}) as client:
        talk = SocketClient(client)
        assert (await talk.open("/")).status == 101
        (engine,) = client.server._gate.engines  # type: ignore[attr-defined]
        at(engine, 19)
        client.send(client_frame(TEXT, b"not asked"))
        assert (await talk.frame()).content == b"not asked"
        at(engine, 21)
        assert (await talk.frame()).opcode == PING
        # A peer that answers the ping stays connected.
        client.send(client_frame(PONG) + client_frame(TEXT, b"here"))
        assert (await talk.frame()).content == b"here"
        at(engine, 49)
        assert (await talk.frame()).opcode == PING
        at(engine, 78)
        for _ in range(100):
            await asyncio.sleep(0)
        assert (engine.is_closed, app.left) == (False, [])
        at(engine, 80)
        await eventually(lambda: app.left)
        assert await client.is_closed()
    assert app.left == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


async def test_a_silent_websocket_is_never_asked_without_an_interval() -> None:
    app = Scopes()
    async with mounted(app, config={"keepalive": Keepalive(interval=None, timeout=30)}) as client:
        talk = SocketClient(client)
        assert (await talk.open("/")).status == 101
        (engine,) = client.server._gate.engines  # type: ignore[attr-defined]
        for seconds in (31, 76, 10_000):
            at(engine, seconds)
        client.send(client_frame(TEXT, b"not asked"))
        assert (await talk.frame()).content == b"not asked"


# The PROXY protocol


@pytest.mark.parametrize("host", ["10.1.2.3", "2001:db8::7"])
async def test_client_is_named_by_the_proxy_protocol(host: str) -> None:
    app = Scopes()
    async with mounted(app, config=PROXIES) as client:
        client.send(header(host) + request("GET", "/first", X_Forwarded_For="203.0.113.9"))
        assert (await client.response()).body == b"ok"
        assert (await client.get("/second")).body == b"ok"
        assert (await SocketClient(client).open("/third")).status == 101
    assert [scope["path"] for scope in app.seen] == ["/first", "/second", "/third"]
    for scope in app.seen:
        assert scope["client"] == (host, 4321)
        assert scope["extensions"]["fastrpc"]["peer"].address.host == host


async def test_a_proxy_that_is_trusted_behind_the_proxy_protocol_names_each_client() -> None:
    app = Scopes()
    async with mounted(app, http={"trusted_proxies": ("10.0.0.0/8",)}, config=PROXIES) as client:
        client.send(
            header("10.1.2.3") + request("GET", "/", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https")
        )
        assert (await client.response()).body == b"ok"
        client.send(handshake("/", X_Forwarded_For="203.0.113.10", X_Forwarded_Proto="https"))
        assert (await client.head()).status == 101
    assert [(scope["client"], scope["scheme"]) for scope in app.seen] == [
        (("203.0.113.9", 0), "https"),
        (("203.0.113.10", 0), "wss"),
    ]


# Limits


async def statuses(client: HttpClient, count: int, **fields: str) -> list[int]:
    """Return the statuses of the given number of requests."""
    return [(await client.get("/", **fields)).status for _ in range(count)]


async def test_limit_of_a_peer_counts_those_that_the_proxy_protocol_names() -> None:
    app = Scopes()
    async with mounted(app, config=PROXIES, limits=[RateLimit(0.001, burst=2, per="peer")]) as client:
        for host in ("10.0.0.1", "10.0.0.2"):
            async with await HttpClient.to(client.address) as talk:  # type: ignore[attr-defined]
                talk.send(header(host))
                assert await statuses(talk, 3) == [200, 200, 429]
    assert len(app.seen) == 4


async def test_limit_of_an_identity_holds_for_each_of_its_connections_and_for_no_other() -> None:
    app = Scopes()
    options: dict[str, Any] = {
        "http": {"mount_authenticated": True},
        "authenticate": TOKENS,
        "limits": [RateLimit(0.001, burst=2, per="identity")],
    }
    ada, bob = ({"Authorization": f"Bearer {name}-token"} for name in ("ada", "bob"))
    async with mounted(app, **options) as client:
        assert await statuses(client, 3, **ada) == [200, 200, 429]
        refused = await client.get("/", **ada)
        assert refused.value["code"] == "RESOURCE_EXHAUSTED"
        assert int(refused["retry-after"]) > 0
        async with await HttpClient.to(client.address) as talk:  # type: ignore[attr-defined]
            assert await statuses(talk, 1, **ada) == [429]
            # A handshake is a request as well.
            talk.send(handshake("/", **ada))
            assert (await talk.response()).status == 429
        # On the connection of the other identity.
        assert await statuses(client, 3, **bob) == [200, 200, 429]
    assert [scope["extensions"]["fastrpc"]["identity"].name for scope in app.seen] == [
        "ada",
        "ada",
        "bob",
        "bob",
    ]
