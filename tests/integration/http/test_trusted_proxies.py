"""`HTTP(trusted_proxies=…)`: limits, delays, logs and handlers see the client of each request, not its proxy."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, TLS, Identity, Server, ServerConfig, Timeouts, current_call
from fastrpc.auth import StaticTokens
from fastrpc.handlers.auth import failed_logins
from fastrpc.interceptors import AccessLog
from fastrpc.limits import RateLimit
from tests.support.admin_pages import page
from tests.support.certificates import Authority
from tests.support.forwarded_fields import FORWARDED_FOR, NEVER_READ, TRUSTED
from tests.support.http2_client import Http2Client
from tests.support.http_talk import HttpClient, Response, request
from tests.support.http_versions import VERSIONS, http_client
from tests.support.socket_client import opened_socket
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def peer(self) -> list[str | None]:
        call = current_call()
        return [
            str(call.peer.address),
            call.peer.protocol,
            None if call.identity is None else call.identity.name,
        ]

    @fastrpc.method(public=True)
    async def public(self) -> str:
        return str(current_call().peer.address)


@contextlib.asynccontextmanager
async def serving(
    *trusted: str,
    address: str = "tcp://127.0.0.1:0",
    tls: TLS | None = None,
    connection: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[HttpClient]:
    http = HTTP(trusted_proxies=trusted, jsonrpc=True, websocket=True)
    config = ServerConfig(protocols=("native", "http"), http=http, timeouts=Timeouts(drain=0.1), tls=tls)
    async with Server(Who(), config=config, **options) as server:
        async with await HttpClient.to(await server.listen(address), **(connection or {})) as client:
            yield client


async def asked(client: HttpClient, forwarded: str | None, **fields: str) -> Response:
    return await client.post("/who/peer", {}, X_Forwarded_For=forwarded, **fields)


async def test_each_request_has_the_peer_that_its_proxy_names() -> None:
    async with serving("127.0.0.0/8") as client:
        for forwarded in ("1.2.3.4", "9.9.9.9, 1.2.3.5", "2001:db8::7"):
            peer = forwarded.split(", ")[-1]
            shown = f"tcp://[{peer}]:0" if ":" in peer else f"tcp://{peer}:0"
            assert (await asked(client, forwarded)).value[:2] == [shown, "http"]
        own = (await asked(client, None)).value[0]
        assert own.startswith("tcp://127.0.0.1:")
        assert (await asked(client, "unknown")).value[0] == own
        secure = await asked(client, "1.2.3.4", X_Forwarded_Proto="https")
        assert secure.value[0] == "tls://1.2.3.4:0"
        assert (await asked(client, None, X_Forwarded_Proto="https")).value[0] == own.replace("tcp", "tls")


async def test_other_fields_are_never_read() -> None:
    async with serving("127.0.0.0/8") as client:
        others = {
            "Forwarded": "for=1.2.3.4",
            "X_Forwarded_Host": "a.example",
            "X_Forwarded_Port": "1",
            "X_Real_IP": "1.2.3.4",
        }
        assert (await asked(client, None, **others)).value[0].startswith("tcp://127.0.0.1:")


#: The sets that a request can carry: HTTP refuses control characters, and knows only characters of Latin-1.
SENT = [each for each in FORWARDED_FOR if all("\0" not in line and line.isascii() for line in each[0])]

#: Each of them next to fields that are never read, and some next to each kind of these.
BESIDE = [
    *((*each, NEVER_READ[at % len(NEVER_READ)]) for at, each in enumerate(SENT)),
    *((*each, more) for each in SENT[:4] for more in NEVER_READ),
]


async def peer_of_fields(client: HttpClient, lines: Sequence[str], more: Sequence[tuple[str, str]]) -> str:
    """Return the peer of a request with these lines of `X-Forwarded-For`, and further fields before and after them."""
    fields = [*more, *(("X-Forwarded-For", line) for line in lines), *more]
    text = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = "Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    client.send(f"POST /who/peer HTTP/1.1\r\n{head}{text}\r\n{{}}".encode())
    found: str = (await client.response()).value[0]
    return found


def serving_at(kind: str, folder: Path, *trusted: str) -> AbstractAsyncContextManager[HttpClient]:
    if kind != "tls":
        address = "tcp://127.0.0.1:0" if kind == "tcp" else f"unix://{folder}/socket"
        return serving(*trusted, address=address)
    authority = Authority(folder)
    connection = {"ssl": ssl.create_default_context(cafile=str(authority.cert_file))}
    tls = authority.certificate().tls()
    return serving(*trusted, address="tls://127.0.0.1:0", tls=tls, connection=connection)


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix"])
async def test_each_set_of_fields_names_its_client_despite_other_fields(kind: str, tmp_path: Path) -> None:
    async with serving_at(kind, tmp_path, "127.0.0.0/8", *TRUSTED) as client:
        own = (await asked(client, None)).value[0]
        for lines, named, more in BESIDE:
            # Nothing states another scheme than the scheme of the connection.
            shown = named and (named.replace("tcp", "tls") if kind == "tls" else named)
            assert await peer_of_fields(client, lines, more) == (shown or own), (lines, more)


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix"])
async def test_no_set_of_fields_of_a_stranger_is_read(kind: str, tmp_path: Path) -> None:
    trusted = [text for text in TRUSTED if text != "unix"]
    async with serving_at(kind, tmp_path, *trusted) as client:
        own = (await asked(client, None)).value[0]
        for lines, _, more in BESIDE:
            assert await peer_of_fields(client, lines, more) == own, (lines, more)


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8", "unix")])
async def test_fields_of_a_stranger_are_plain_fields(trusted: tuple[str, ...]) -> None:
    async with serving(*trusted) as client:
        assert (await asked(client, "1.2.3.4")).value[0].startswith("tcp://127.0.0.1:")


async def test_a_proxy_at_a_unix_socket_is_trusted_by_name(tmp_path: Any) -> None:
    async with serving("unix", address=f"unix://{tmp_path}/a") as client:
        assert (await asked(client, "1.2.3.4")).value[0] == "tcp://1.2.3.4:0"
        assert (await asked(client, None)).value[0].startswith("unix://")


async def test_two_clients_on_one_connection_are_two_to_limits() -> None:
    async with serving("127.0.0.0/8", limits=[RateLimit(0.001, burst=2, per="peer")]) as client:
        told = [(await asked(client, f"1.2.3.{host}")).status for host in (4, 5, 4, 5, 4, 5, 6)]
        assert told == [200, 200, 200, 200, 429, 429, 200]
        # The leftmost entries are the client's own claim.
        assert (await asked(client, "7.7.7.7, 1.2.3.4")).status == 429


async def test_failed_logins_of_one_client_do_not_delay_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 1_000.0)
    async with serving("127.0.0.0/8", authenticate=StaticTokens({"good": Identity("ada")})) as client:
        for _ in range(failed_logins.MOST_FAILURES):
            assert (await asked(client, "1.2.3.4", Authorization="Bearer wrong")).status == 401
        late = await asked(client, "1.2.3.4", Authorization="Bearer wrong", Timeout_Ms="50")
        assert late.status == 504
        for authorization, status in (("Bearer wrong", 401), ("Bearer good", 200)):
            assert (await asked(client, "1.2.3.5", Authorization=authorization)).status == status


async def test_an_identity_belongs_to_its_request() -> None:
    async with serving("127.0.0.0/8", authenticate=StaticTokens({"good": Identity("ada")})) as client:
        answer = await asked(client, "1.2.3.5", Authorization="Bearer good")
        assert answer.value == ["tcp://1.2.3.5:0", "http", "ada"]
        assert (await asked(client, "1.2.3.5")).status == 401
        assert (await client.post("/who/public", {}, X_Forwarded_For="1.2.3.6")).value == "tcp://1.2.3.6:0"


async def test_json_rpc_and_web_sockets_have_the_same_peer() -> None:
    async with serving("127.0.0.0/8") as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "who.peer"}
        answer = await client.post("/jsonrpc", body, X_Forwarded_For="1.2.3.4")
        assert answer.value["result"][0] == "tcp://1.2.3.4:0"
        async with opened_socket(client, "/ws/who/peer", X_Forwarded_For="1.2.3.5") as socket:
            socket.send({"arguments": {}})
            assert (await socket.receive())["value"][:2] == ["tcp://1.2.3.5:0", "websocket"]


@fastrpc.service("held")
class Held:
    def __init__(self) -> None:
        self.started = 0
        self.may_end = asyncio.Event()

    @fastrpc.method
    async def wait(self) -> None:
        self.started += 1
        await self.may_end.wait()


@pytest.mark.parametrize("version", VERSIONS)
async def test_admin_pages_show_the_client_of_each_call_and_the_proxy_of_each_connection(
    version: str,
) -> None:
    held = Held()
    http = HTTP(trusted_proxies=("127.0.0.0/8",))
    config = ServerConfig(protocols=("http",), http=http, admin_address="tcp://127.0.0.1:0")
    async with Server(held, config=config) as server, contextlib.AsyncExitStack() as stack:
        address = await server.listen("tcp://127.0.0.1:0")
        clients = [await stack.enter_async_context(http_client(version, address)) for _ in range(2)]
        for host, client in enumerate(clients):
            if isinstance(client, Http2Client):
                # The calls of one connection have a client each.
                await client.start("POST", "/held/wait", {}, X_Forwarded_For=f"1.2.4.{host}")
                await client.start("POST", "/held/wait", {}, X_Forwarded_For=f"1.2.3.{host}")
            else:
                client.send(request("POST", "/held/wait", {}, X_Forwarded_For=f"1.2.3.{host}"))
        hosts = ["1.2.3.0", "1.2.3.1", *(["1.2.4.0", "1.2.4.1"] if version == "2" else [])]
        await eventually(lambda: held.started == len(hosts))
        calls = (await page(server, "/calls", Accept="application/json")).json["calls"]
        assert sorted(call["peer"] for call in calls) == [f"tcp://{host}:0" for host in hosts]
        assert {call["protocol"] for call in calls} == {"http"}
        found = (await page(server, "/connections", Accept="application/json")).json["connections"]
        assert {row["peer"] for row in found} == {str(peer) for peer in server.peers()}
        assert all(row["peer"].startswith("tcp://127.0.0.1:") for row in found)
        held.may_end.set()


async def test_audit_and_access_log_name_the_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tokens = StaticTokens({"good": Identity("ada")})
    async with serving("127.0.0.0/8", authenticate=tokens, interceptors=[AccessLog()]) as client:
        await asked(client, "1.2.3.4", Authorization="Bearer good")
        await asked(client, "1.2.3.5", Authorization="Bearer wrong")
    assert "1.2.3.4" in " ".join(str(vars(one)) for one in caplog.records if one.name == "fastrpc.access")
    assert "1.2.3.5" in " ".join(str(vars(one)) for one in caplog.records if one.name == "fastrpc.audit")
