"""gRPC-Web and Connect by streams of HTTP/2: beside gRPC on one connection, both ways, for callers with rights."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.errors import ErrorCodes

from fastrpc import HTTP, Server, ServerConfig
from fastrpc._core.base.histogram import default_registry
from fastrpc.auth import Identity, Policy, StaticTokens
from tests.support.grpc_peer import GrpcPeer, grpc_peer, message
from tests.support.guarded import TOKENS, Shop
from tests.support.spellings import other_spellings
from tests.support.waiting import eventually
from tests.support.web_talk import Orders, enveloped, frames, serving

pytestmark = pytest.mark.one_loop

SHOW, BOTH, WAIT = (f"/shop.v1.Orders/{name}" for name in ("Show", "Both", "Wait"))
VERSION = [("connect-protocol-version", "1")]
JSON = "application/json"
STREAM = "application/connect+json"
WEB = HTTP(connect=True, grpc_web=True)


async def test_a_stream_goes_both_ways_at_once() -> None:
    async with serving(version="2") as client:
        peer: GrpcPeer = client.peer
        stream = peer.open(BOTH, kind=STREAM)
        answer = peer.answers[stream]
        for number in range(1, 4):
            peer.send(stream, enveloped({"value": number}))
            await eventually(lambda number=number: len(frames_so_far(answer.data)) == number)
            assert json.loads(frames_so_far(answer.data)[-1]) == {"value": str(2 * number)}
        peer.send(stream, b"", ends=True)
        assert frames((await peer.end(stream)).data)[-1] == (2, b"{}")


def frames_so_far(data: bytes) -> list[bytes]:
    """Return the contents of the frames that are whole."""
    found = []
    while len(data) >= 5 and len(data) >= (end := 5 + int.from_bytes(data[1:5], "big")):
        found.append(data[5:end])
        data = data[end:]
    return found


async def test_calls_of_three_protocols_share_a_connection() -> None:
    async with serving(version="2") as client:
        peer: GrpcPeer = client.peer
        method = "shop.v1.orders.wait"
        before = {name: in_flight(method, name) for name in ("grpc", "connect", "grpc_web")}
        waiting = [
            peer.request(WAIT, b""),
            peer.open(WAIT, kind="application/proto", ends=True),
            peer.request(WAIT, b"", kind="application/grpc-web+proto"),
        ]
        for name in before:
            await eventually(lambda name=name: in_flight(method, name) == before[name] + 1)
        shown = {
            "grpc": await peer.call(SHOW, b""),
            "connect": await peer.end(peer.open(SHOW, kind="application/proto", ends=True)),
            "grpc_web": await peer.call(SHOW, b"", kind="application/grpc-web"),
        }
        for name, answer in shown.items():
            assert name.encode() in answer.data, answer
        for stream in waiting:
            assert not peer.answers[stream].is_over
            peer.reset(stream)


def in_flight(method: str, protocol: str) -> int:
    return default_registry.counters(method, "server", protocol).in_flight


async def test_a_reset_cancels_the_handler() -> None:
    orders = Orders()
    async with serving(orders, version="2") as client:
        stream = client.begin("POST", WAIT, ends=True, Content_Type="application/proto")
        await orders.started.wait()
        client.peer.reset(stream)
        await orders.cancelled.wait()


async def test_a_server_that_leaves_answers_what_is_under_way() -> None:
    orders = Orders()
    async with Server(orders, config=ServerConfig(protocols=("grpc",), http=WEB)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with grpc_peer(address) as peer:
            stream = peer.open(BOTH, kind=STREAM)
            peer.send(stream, enveloped({"value": 1}))
            await eventually(lambda: peer.answers[stream].data)
            closing = asyncio.create_task(server.drain())
            await eventually(lambda: peer.goaways)
            peer.send(stream, enveloped({"value": 2}), ends=True)
            answer = await peer.end(stream)
            assert [json.loads(part) for flags, part in frames(answer.data) if flags == 0] == [
                {"value": "2"},
                {"value": "4"},
            ]
            await closing
            assert peer.goaways[-1][1] == ErrorCodes.NO_ERROR


@asynccontextmanager
async def guarded(shop: Shop) -> AsyncIterator[GrpcPeer]:
    """Serve a shop whose callers may call `shop.hello` alone, which is open to all, and connect to it."""
    policy = Policy([{"who": ["bob"], "allow": ["shop.hello"]}])
    config = ServerConfig(protocols=("grpc",), http=WEB)
    async with Server(shop, config=config, authenticate=TOKENS, authorize=policy) as server:
        async with grpc_peer(await server.listen("tcp://127.0.0.1:0")) as peer:
            yield peer


def forms() -> list[tuple[str, list[tuple[str, str]], bytes]]:
    """Return the forms of a call without a stream: type, fields, body."""
    return [
        (JSON, VERSION, b"{}"),
        ("application/proto", [], b""),
        ("application/grpc-web+proto", [], message(b"")),
        ("application/grpc-web-text", [], b"AAAAAAA="),
    ]


def begin(peer: GrpcPeer, path: str, kind: str, fields: list[tuple[str, str]], body: bytes) -> int:
    stream = peer.open(path, fields, kind=kind)
    peer.send(stream, body, ends=True)
    return stream


@pytest.mark.parametrize(("kind", "fields", "body"), forms())
async def test_no_spelling_of_a_path_or_a_type_calls_what_a_caller_may_not(
    kind: str, fields: list[tuple[str, str]], body: bytes
) -> None:
    shop = Shop()
    texts = [text for text in other_spellings("/shop/who") if text.isprintable() and " " not in text]
    paths = [text if text.startswith("/") else f"/{text}" for text in texts]
    paths += ["/shop/who", "/shop.who", "/shop/who/", "//shop/who", "/SHOP/who", "/shop//who"]
    kinds = [
        *other_spellings(kind)[-40:-20],
        f"{kind}, text/plain",
        f"{kind}+json",
        kind.upper(),
        f"{kind};charset=x",
    ]
    assert len(paths) + len(kinds) >= 64
    async with guarded(shop) as peer:
        token = [*fields, ("authorization", "Bearer token-of-bob")]
        streams = [begin(peer, path, kind, token, body) for path in paths]
        streams += [begin(peer, "/shop/who", other, token, body) for other in kinds if other.isprintable()]
        for stream in streams:
            assert (await peer.end(stream)).is_over
        assert shop.started == []
        await peer.end(begin(peer, "/shop/hello", kind, token, body))
        assert shop.started == ["shop.hello"]


@pytest.mark.parametrize(("kind", "fields", "body"), forms())
async def test_no_spelling_of_a_credential_calls_a_method(
    kind: str, fields: list[tuple[str, str]], body: bytes
) -> None:
    shop, token = Shop(), "Bearer token-of-ada"
    shown = [
        [("authorization", "Bearer token-of-bob"), ("authorization", token)],
        [("authorization", token), ("authorization", token)],
        [("authorization-bin", "QmVhcmVyIHRva2VuLW9mLWFkYQ")],
        [("proxy-authorization", token)],
        [("x-authorization", token)],
        [("cookie", f"authorization={token}")],
        [("trailer-authorization", token)],
        [("authorization", "bearer Token-of-ada")],
        [("authorization", "token-of-ada")],
        [("authorization", f"{token},")],
        [("authorization", f"Basic {token[7:]}")],
        [("authorization", "Bearer%20token-of-ada")],
    ]
    async with guarded_by_token(shop) as peer:
        streams = [begin(peer, "/shop/who", kind, [*fields, *one], body) for one in shown]
        for one, stream in zip(shown, streams, strict=True):
            assert (await peer.end(stream)).is_over, one
        assert shop.started == []
        await peer.end(begin(peer, "/shop/who", kind, [*fields, ("authorization", token)], body))
        assert shop.started == ["shop.who"]


@asynccontextmanager
async def guarded_by_token(shop: Shop) -> AsyncIterator[GrpcPeer]:
    """Serve a shop to callers that show a token, and connect to it."""
    tokens = StaticTokens({"token-of-ada": Identity("ada")})
    async with Server(
        shop, config=ServerConfig(protocols=("grpc",), http=WEB), authenticate=tokens
    ) as server:
        async with grpc_peer(await server.listen("tcp://127.0.0.1:0")) as peer:
            yield peer
