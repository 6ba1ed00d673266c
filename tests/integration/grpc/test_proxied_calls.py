"""`HTTP(trusted_proxies=…)` by HTTP/2: calls of several clients overlap on one connection of their proxy."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig, Status, Timeouts, current_call
from fastrpc.auth import Identity, StaticTokens
from fastrpc.handlers.auth import failed_logins
from fastrpc.interceptors import AccessLog
from fastrpc.limits import Addresses, ConnectionRate, RateLimit
from tests.support.grpc_peer import Answer, GrpcPeer, grpc_peer
from tests.support.waiting import eventually
from tests.support.web_talk import enveloped

pytestmark = pytest.mark.one_loop

PEER = "/who/peer"
JSON = "application/grpc+json"
TOKENS = StaticTokens({"good": Identity("ada")})


@fastrpc.service("who")
class Who:
    """Methods that tell who called them, at once or when the test lets them."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.waiting = 0

    @fastrpc.method
    async def peer(self) -> list[str]:
        call = current_call()
        return [
            str(call.peer.address),
            call.peer.protocol,
            "" if call.identity is None else call.identity.name,
        ]

    @fastrpc.method
    async def later(self) -> str:
        self.waiting += 1
        await self.go_on.wait()
        return str(current_call().peer.address)


@asynccontextmanager
async def proxied(
    *trusted: str, who: Who | None = None, address: str = "tcp://127.0.0.1:0", **options: Any
) -> AsyncIterator[GrpcPeer]:
    """Serve by gRPC alone, and connect as a proxy does."""
    http = HTTP(trusted_proxies=trusted or ("127.0.0.0/8",), connect=True, grpc_web=True)
    config = ServerConfig(protocols=("grpc",), http=http, timeouts=Timeouts(drain=0.1))
    async with Server(who or Who(), config=config, **options) as server:
        async with grpc_peer(await server.listen(address)) as peer:
            yield peer


def fields_of(forwarded: str | None, token: str = "") -> list[tuple[str, str]]:
    found = [] if forwarded is None else [("x-forwarded-for", forwarded)]
    return [*found, *([("authorization", token)] if token else [])]


async def asked(
    peer: GrpcPeer, forwarded: str | None, *fields: tuple[str, str], path: str = PEER, token: str = ""
) -> Answer:
    return await peer.call(path, b"{}", [*fields_of(forwarded, token), *fields], kind=JSON)


def told(answer: Answer) -> Any:
    """Return the result of a call in JSON."""
    assert answer.status == Status.OK, answer
    return json.loads(answer.messages[0])["value"]


async def test_each_call_has_the_peer_that_its_proxy_names() -> None:
    async with proxied() as peer:
        for forwarded, shown in (
            ("1.2.3.4", "tcp://1.2.3.4:0"),
            ("9.9.9.9, 1.2.3.5, 127.0.0.1", "tcp://1.2.3.5:0"),
            ("2001:db8::7", "tcp://[2001:db8::7]:0"),
        ):
            assert told(await asked(peer, forwarded))[:2] == [shown, "grpc"]
        assert told(await asked(peer, None))[0].startswith("tcp://127.0.0.1:")
        assert told(await asked(peer, "1.2.3.4", ("x-forwarded-for", "1.2.3.6")))[0] == "tcp://1.2.3.6:0"
        assert told(await asked(peer, "1.2.3.4", ("x-forwarded-proto", "https")))[0] == "tls://1.2.3.4:0"
        assert told(await asked(peer, None, ("forwarded", "for=1.2.3.4")))[0].startswith("tcp://127.0.0.1:")


async def test_calls_under_way_at_once_keep_their_clients() -> None:
    who = Who()
    async with proxied(who=who) as peer:
        hosts = ["1.2.3.4", "1.2.3.5", "1.2.3.4"]
        streams = [peer.request("/who/later", b"{}", fields_of(host), kind=JSON) for host in hosts]
        await eventually(lambda: who.waiting == 3)
        who.go_on.set()
        assert [told(await peer.end(stream)) for stream in streams] == [f"tcp://{host}:0" for host in hosts]


async def test_fields_of_a_stranger_name_no_client() -> None:
    async with proxied("10.0.0.0/8", limits=[Addresses(deny=["1.2.3.4/32"])]) as peer:
        assert told(await asked(peer, "1.2.3.4"))[0].startswith("tcp://127.0.0.1:")


async def test_two_clients_on_one_connection_are_two_to_limits() -> None:
    async with proxied(limits=[RateLimit(0.001, burst=2, per="peer")]) as peer:
        hosts = (4, 5, 4, 5, 4, 5, 6)
        found = [(await asked(peer, f"1.2.3.{host}")).status for host in hosts]
        assert found == [0, 0, 0, 0, Status.RESOURCE_EXHAUSTED, Status.RESOURCE_EXHAUSTED, 0]
        # The leftmost entries are the client's own claim.
        assert (await asked(peer, "7.7.7.7, 1.2.3.4")).status == Status.RESOURCE_EXHAUSTED


async def test_edges_judge_the_clients_of_calls() -> None:
    limits = [Addresses(allow=["1.2.0.0/16"]), ConnectionRate(0.001, burst=2)]
    async with proxied(limits=limits) as peer:
        found = [(await asked(peer, f"1.2.3.{host}")).status for host in (4, 4, 4, 5)]
        assert found == [0, 0, Status.RESOURCE_EXHAUSTED, 0]
        over = await asked(peer, "1.2.3.4")
        assert (over.end["grpc-retry-pushback-ms"], over.end["frpc-outcome"]) == ("1000", "1")
        for path in (PEER, "/who/unknown", "/"):
            assert (await asked(peer, "9.9.9.9, 1.3.0.1", path=path)).status == Status.PERMISSION_DENIED
        assert (await asked(peer, "unknown")).status == Status.PERMISSION_DENIED
        # Calls of the proxy itself, such as those for its health.
        assert [(await asked(peer, None)).status for _ in range(3)] == [0] * 3
        # Many refused clients do not end the connection of their proxy.
        for _ in range(300):
            assert (await asked(peer, "9.9.9.9")).status == Status.PERMISSION_DENIED
        assert told(await asked(peer, None))[1] == "grpc"


@pytest.mark.parametrize(
    ("kind", "fields", "body", "status"),
    [
        ("application/json", [("connect-protocol-version", "1")], b"{}", "403"),
        ("application/connect+json", [], enveloped({}), "200"),
        ("application/grpc-web+json", [], enveloped({}), "200"),
        ("text/html", [], b"", "403"),
    ],
)
async def test_edges_judge_the_clients_of_pages(
    kind: str, fields: list[tuple[str, str]], body: bytes, status: str
) -> None:
    async with proxied(limits=[Addresses(deny=["1.2.3.4/32"])]) as peer:

        async def answer(host: str, *, method: str = "POST") -> Answer:
            stream = peer.open(PEER, [*fields, *fields_of(host)], kind=kind, method=method)
            peer.send(stream, body, ends=True)
            return await peer.end(stream)

        refused = await answer("1.2.3.4")
        assert refused.head[":status"] == status
        assert b"may not call this server" in refused.data
        assert (await answer("1.2.3.4", method="OPTIONS")).head[":status"] == "403"
        assert b"may not call this server" not in (await answer("1.2.3.5")).data


async def test_failed_logins_of_one_client_do_not_delay_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 1_000.0)
    async with proxied(authenticate=TOKENS) as peer:
        wrong = "Bearer wrong"
        for _ in range(failed_logins.MOST_FAILURES):
            assert (await asked(peer, "1.2.3.4", token=wrong)).status == Status.UNAUTHENTICATED
        late = await asked(peer, "1.2.3.4", ("grpc-timeout", "50m"), token=wrong)
        assert late.status == Status.DEADLINE_EXCEEDED
        assert (await asked(peer, "1.2.3.5", token=wrong)).status == Status.UNAUTHENTICATED
        assert told(await asked(peer, "1.2.3.5", token="Bearer good")) == ["tcp://1.2.3.5:0", "grpc", "ada"]


async def test_audit_and_access_log_name_the_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with proxied(authenticate=TOKENS, interceptors=[AccessLog()]) as peer:
        await asked(peer, "1.2.3.4", token="Bearer good")
        await asked(peer, "1.2.3.5", token="Bearer wrong")
    assert "1.2.3.4" in " ".join(str(vars(one)) for one in caplog.records if one.name == "fastrpc.access")
    assert "1.2.3.5" in " ".join(str(vars(one)) for one in caplog.records if one.name == "fastrpc.audit")


async def test_calls_by_connect_have_the_client_and_their_protocol() -> None:
    async with proxied() as peer:
        fields = [("connect-protocol-version", "1"), *fields_of("1.2.3.4")]
        stream = peer.open(PEER, fields, kind="application/json")
        peer.send(stream, b"{}", ends=True)
        assert json.loads((await peer.end(stream)).data)["value"][:2] == ["tcp://1.2.3.4:0", "connect"]
