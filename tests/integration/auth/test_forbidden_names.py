"""No spelling of a method tells a caller without access that it exists: alias, gRPC's name, route, tool, socket."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Address, Client, Identity, Server, ServerConfig
from fastrpc.auth import Policy, StaticTokens
from tests.support.grpc_peer import grpc_peer, message
from tests.support.guarded import refusal
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop

TOKEN = "token-of-ada"
CONFIG = ServerConfig(
    protocols=("native", "rpcx", "http", "grpc"),
    http=HTTP(jsonrpc=True, websocket=True, connect=True, mcp=True),
)
#: The second of each does not exist.
NAMES = ("close_all", "close_any")
HANDSHAKE = {"Upgrade": "websocket", "Connection": "upgrade", "Sec_WebSocket_Version": "13"}


@fastrpc.service("shop.v1.orders", grpc="pascal", rpcx="go", alias=("legacy",))
class Orders:
    @fastrpc.method(tool=True, http="POST /orders/close_all")
    async def close_all(self) -> str:
        return "closed"


@fastrpc.service("feed")
class Feed:
    """Methods that pass the gate before their requests are whole."""

    @fastrpc.method
    async def lines_all(self, lines: AsyncIterator[int]) -> int:
        return 0

    @fastrpc.method
    async def files_all(self, file: fastrpc.Upload) -> int:
        return 0


async def http(
    address: Address, token: str | None, verb: str, path: str, body: Any = b"{}", **fields: str
) -> bytes:
    """Return all of the answer, whose fields tell whether the connection ends with it."""
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    async with await HttpClient.to(address) as client:
        found = await client.ask(verb, path, body, **fields)
    return repr((found.status, [one for one in found.fields if one[0] != "date"], found.body)).encode()


async def by_json(address: Address, token: str | None, name: str) -> bytes:
    return await http(address, token, "POST", f"/legacy/{name}", Content_Type="application/json")


async def by_connect(address: Address, token: str | None, name: str) -> bytes:
    path = f"/shop.v1.Orders/{name.title().replace('_', '')}"
    fields = {"Content_Type": "application/json", "Connect_Protocol_Version": "1"}
    return await http(address, token, "POST", path, **fields)


async def by_route(address: Address, token: str | None, name: str) -> bytes:
    return await http(address, token, "POST", f"/orders/{name}", Content_Type="application/json")


async def by_json_rpc(address: Address, token: str | None, name: str) -> bytes:
    body = {"jsonrpc": "2.0", "id": 1, "method": f"legacy.{name}"}
    return await http(address, token, "POST", "/jsonrpc", body, Content_Type="application/json")


async def by_tool(address: Address, token: str | None, name: str) -> bytes:
    parameters = {"name": f"shop_v1_orders_{name}"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    return await http(address, token, "POST", "/mcp", body, Content_Type="application/json")


async def by_handshake(address: Address, token: str | None, name: str) -> bytes:
    key = {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    return await http(address, token, "GET", f"/ws/legacy/{name}", b"", **HANDSHAKE, **key)


async def by_handshake_without_a_key(address: Address, token: str | None, name: str) -> bytes:
    return await http(address, token, "GET", f"/ws/legacy/{name}", b"", **HANDSHAKE)


async def by_grpc(address: Address, token: str | None, name: str) -> bytes:
    fields = [] if token is None else [("authorization", f"Bearer {token}")]
    async with grpc_peer(address) as peer:
        stream = peer.open(f"/shop.v1.Orders/{name.title().replace('_', '')}", fields)
        peer.send(stream, message(b""), ends=True)
        answer = await peer.end(stream)
        return repr((answer.status, answer.text)).encode()


async def by_native(address: Address, token: str | None, name: str, **config: str) -> bytes:
    target = f"tcp://{address.host}:{address.port}"
    async with Client(target, credentials=token, config=fastrpc.ClientConfig(**config)) as client:  # type: ignore[arg-type]
        return repr(await refusal(client.call(f"legacy.{name}"))).encode()


async def by_rpcx(address: Address, token: str | None, name: str) -> bytes:
    return await by_native(address, token, name, wire_protocol="rpcx")


Way = Callable[[Address, str | None, str], Awaitable[bytes]]
WAYS: list[Way] = [
    by_json,
    by_connect,
    by_route,
    by_json_rpc,
    by_tool,
    by_handshake,
    by_handshake_without_a_key,
    by_grpc,
    by_native,
    by_rpcx,
]


@pytest.mark.parametrize("token", [TOKEN, None], ids=["known", "nobody"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_no_other_name_of_a_forbidden_method_tells_that_it_exists(way: Way, token: str | None) -> None:
    tokens = StaticTokens({TOKEN: Identity("ada")})
    policy = Policy([{"who": ["ada"], "allow": ["other.*"]}])
    async with Server(Orders, authenticate=tokens, authorize=policy, config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        forbidden, unknown = [await way(address, token, name) for name in NAMES]
    assert forbidden == unknown.replace(b"close_any", b"close_all").replace(b"CloseAny", b"CloseAll")
    # Refused, and not broken: these are the texts of refusals in each protocol.
    said = (b"UNAUTHENTICATED", b"PERMISSION_DENIED", b"401", b"403", b"no tool", b"(16, ", b"(7, ")
    assert any(text in forbidden for text in said)


@fastrpc.service("shelf")
class Shelf:
    """At one path the method that everybody may call is the first, at the other one the last."""

    @fastrpc.method(safe=True, public=True, http="GET /items/{number}")
    async def item(self, number: int) -> int:
        return number

    @fastrpc.method(roles=("admin",), http="DELETE /items/{number}")
    async def drop(self, number: int) -> int:
        return number

    @fastrpc.method(roles=("admin",), http="DELETE /things/{number}")
    async def remove(self, number: int) -> int:
        return number

    @fastrpc.method(safe=True, public=True, http="GET /things/{number}")
    async def thing(self, number: int) -> int:
        return number


@pytest.mark.parametrize("path", ["/items/7", "/things/7"])
async def test_a_path_names_the_verbs_that_its_caller_may_use(path: str) -> None:
    tokens = StaticTokens({TOKEN: Identity("ada", roles={"admin"})})
    async with Server(Shelf, authenticate=tokens, config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for token, verbs in ((None, "GET, HEAD"), (TOKEN, "DELETE, GET, HEAD")):
            fields = {} if token is None else {"Authorization": f"Bearer {token}"}
            async with await HttpClient.to(address) as client:
                answer = await client.ask("PUT", path, {}, **fields)
            assert (answer.status, answer["allow"]) == (405, verbs)
            assert answer.value["detail"] == f"this path is called by {verbs}"


LINES = {"lines": b"{}\n1\n", "wrong lines": b"wrong\n"}


@pytest.mark.parametrize("token", [TOKEN, None], ids=["known", "nobody"])
@pytest.mark.parametrize("kind", ["lines", "files"])
@pytest.mark.parametrize("form", LINES)
async def test_a_stream_of_no_method_is_refused_as_early_as_one_of_a_forbidden_method(
    form: str, kind: str, token: str | None
) -> None:
    tokens = StaticTokens({TOKEN: Identity("ada")})
    policy = Policy([{"who": ["ada"], "allow": ["other.*"]}])
    config = ServerConfig(protocols=("http",))
    answers = []
    async with Server(Feed, authenticate=tokens, authorize=policy, config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for name in (f"{kind}_all", f"{kind}_any"):
            lines = [
                f"POST /feed/{name} HTTP/1.1",
                "Host: x",
                "Content-Type: application/x-ndjson",
                "Content-Length: 100",
            ]
            lines += [] if token is None else [f"Authorization: Bearer {token}"]
            async with await HttpClient.to(address) as client:
                client.send("\r\n".join([*lines, "", ""]).encode() + LINES[form])
                # The answer comes before the unread part of the body, and the connection closes after it.
                found = await client.response()
                assert await client.is_closed()
            shown = repr([one for one in found.fields if one[0] != "date"]).encode() + found.body
            answers.append((found.status, shown.replace(b"_any", b"_all")))
    assert answers[0] == answers[1]
