"""No spelling of a path, an authority, a type or a credential calls a method without the right to.

By gRPC, gRPC-Web and Connect over HTTP/2, and by the latter two over HTTP/1.1: of two callers one may call a public
method alone, the other one shows something like a token.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from fastrpc import HTTP, Address, Server, ServerConfig
from fastrpc.auth import Policy
from fastrpc.handlers.auth import failed_logins
from tests.support.grpc_peer import Answer, GrpcPeer, grpc_peer, message
from tests.support.guarded import TOKENS, Shop
from tests.support.http_talk import HttpClient
from tests.support.spellings import other_spellings

pytestmark = pytest.mark.one_loop

Fields = list[tuple[str, str]]

BOB, ADA = "Bearer token-of-bob", "Bearer token-of-ada"
#: Requests of one connection: a server ends one with many malformed requests.
AT_ONCE = 12
SPELLINGS = 64


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed logins are many here, and have a test of their own."""
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 0.0)


@dataclass(frozen=True)
class Form:
    """A request of a method without arguments, but for its path and its credential."""

    kind: str
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()


GRPC = (Form("application/grpc", message(b"")), Form("application/grpc+json", message(b"{}")))
WEB = (
    Form("application/json", b"{}", (("connect-protocol-version", "1"),)),
    Form("application/proto", b""),
    Form("application/grpc-web+proto", message(b"")),
    Form("application/grpc-web-text", b"AAAAAAA="),
)


def forms(*of_both: Form) -> list[Form]:
    return [pytest.param(form, id=form.kind) for form in of_both]  # type: ignore[misc]


@asynccontextmanager
async def guarded(shop: Shop) -> AsyncIterator[Address]:
    """Serve a shop in which Bob may call `shop.hello` alone, which is open to all, and Ada everything."""
    policy = Policy([{"who": ["bob"], "allow": ["shop.hello"]}, {"who": ["ada"], "allow": ["**"]}])
    config = ServerConfig(protocols=("http", "grpc"), http=HTTP(json=False, grpc_web=True, connect=True))
    async with Server(shop, config=config, authenticate=TOKENS, authorize=policy) as server:
        yield await server.listen("tcp://127.0.0.1:0")


def head_of(form: Form, token: str | None, *, path: str = "/shop/who", kind: str = "") -> Fields:
    shown = [] if token is None else [("authorization", token)]
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", kind or form.kind),
        *form.fields,
        *shown,
    ]


def begin(peer: GrpcPeer, head: Fields, body: bytes, trailers: Fields) -> int:
    """Send a request whose head may be malformed."""
    stream = peer.h2.get_next_available_stream_id()
    peer.answers[stream] = Answer()
    peer.h2.send_headers(stream, head)
    peer.send(stream, body, ends=not trailers)
    if trailers:
        peer.h2.send_headers(stream, trailers, end_stream=True)
        peer.flush()
    return stream


async def send_all(address: Address, heads: list[Fields], body: bytes, trailers: Fields = ()) -> None:  # type: ignore[assignment]
    """Send requests, and return once each is over."""
    for at in range(0, len(heads), AT_ONCE):
        async with grpc_peer(address) as peer:
            streams = [begin(peer, head, body, list(trailers)) for head in heads[at : at + AT_ONCE]]
            for stream in streams:
                assert (await peer.end(stream)).is_over or peer.is_closed


def replaced(head: Fields, name: str, *values: str | tuple[str, str]) -> Fields:
    """Return a head with other fields in place of one, text for other values of it."""
    others = [(name, value) if isinstance(value, str) else value for value in values]
    return [field for known in head for field in (others if known[0] == name else [known])]


def paths() -> list[str]:
    texts = [text if text.startswith("/") else f"/{text}" for text in other_spellings("/shop/who")]
    own = "/shop/who"
    return [
        *texts,
        *(own, "/shop.who", "/shop/who/", "//shop/who", "/SHOP/who", "/shop//who", "/shop/hello/../who"),
        *(f"{own}?x=/shop/hello", f"/shop/hello?x={own}", f"/shop/hello#{own}", f"http://localhost{own}"),
        *("shop/who", "*", "/ws/shop/who", "/shop/Who", "/fastrpc/../shop/who", "/shop%2fwho", "/shop/%77ho"),
    ]


def authorities(head: Fields) -> list[Fields]:
    """Return heads whose authority says something else, or says it elsewhere."""
    names = [":authority", "host", "Host", "x-forwarded-host", "forwarded", "x-original-url", "x-rewrite-url"]
    values = [
        "",
        "*",
        "shop",
        "localhost, localhost",
        "localhost:99999",
        "ada@localhost",
        "token-of-ada@localhost",
    ]
    values += [
        "localhost/shop/hello",
        "localhost\\shop",
        "[::1",
        "shop.hello",
        "127.0.0.1",
        "LOCALHOST",
        "localhost.",
    ]
    found = [replaced(head, ":authority", *both) for both in _pairs(names, values)]
    return [*found, replaced(head, ":authority"), replaced(head, ":authority", "localhost", "localhost")]


def _pairs(names: list[str], values: list[str]) -> Iterable[list[tuple[str, str]]]:
    for name in names:
        for value in values:
            yield [(name, value)] if name == ":authority" else [(":authority", "localhost"), (name, value)]


def kinds(kind: str) -> list[str]:
    own = [text for text in other_spellings(kind) if text.isascii()]
    return [
        *own,
        *(f"{kind}, text/plain", f"text/plain, {kind}", f"{kind}+json", f"{kind}+proto", f"{kind};charset=x"),
        *("application/grpc", "application/grpc-web", "application/connect+json", "application/msgpack"),
    ]


def is_token(text: str) -> bool:
    """Return whether a text is Ada's credential, but for the case of its scheme and the spaces around."""
    scheme, _, token = text.strip(" \t").partition(" ")
    return scheme.lower() == "bearer" and token.strip(" \t") == ADA[7:]


def credentials() -> list[str]:
    """Return texts like Ada's credential."""
    texts = [*other_spellings(ADA), *(f"Bearer {text}" for text in other_spellings(ADA[7:]))]
    texts += [
        ADA[7:],
        f"{ADA},",
        f"{ADA};",
        f"Basic {ADA[7:]}",
        f"{ADA}, {ADA}",
        f"{BOB}x, {ADA}",
        f"{ADA}:",
        f"Bearer={ADA[7:]}",
    ]
    return [text for text in texts if text.isascii() and not is_token(text)]


def elsewhere() -> list[Fields]:
    """Return fields that show Ada's credential in another place, or in two."""
    names = [
        "authorization-bin",
        "proxy-authorization",
        "x-authorization",
        "trailer-authorization",
        "authorization ",
    ]
    names += ["Authorization", "AUTHORIZATION", ":authorization", "authorization:", "grpc-authorization"]
    names += [
        "frpc-authorization",
        "connect-authorization",
        "cookie",
        "x-rpcx-meta",
        "www-authenticate",
        "auth",
    ]
    found = [[(name, ADA)] for name in names]
    found += [[("authorization-bin", "QmVhcmVyIHRva2VuLW9mLWFkYQ")], [("cookie", f"authorization={ADA}")]]
    found += [
        [("authorization", first), ("authorization", second)] for first in (ADA, "x") for second in (ADA, "x")
    ]
    return found


@pytest.mark.parametrize("form", forms(*GRPC, *WEB))
async def test_no_spelling_of_a_path_an_authority_or_a_type_avoids_the_policy(form: Form) -> None:
    shop, own = Shop(), head_of(form, BOB)
    lists = [
        [replaced(own, ":path", path) for path in paths()],
        [
            replaced(own, ":path", "/shop/hello", "/shop/who"),
            replaced(own, ":path", "/shop/who", "/shop/hello"),
        ],
        authorities(own),
        [replaced(own, "content-type", kind) for kind in kinds(form.kind)],
        [
            replaced(own, "content-type", form.kind, form.kind),
            replaced(own, "content-type", "text/html", form.kind),
        ],
    ]
    assert all(len(found) >= SPELLINGS for found in lists[::2][:2])
    async with guarded(shop) as address:
        for heads in lists:
            await send_all(address, heads, form.body)
        assert set(shop.started) <= {"shop.hello"}
        shop.started.clear()
        await send_all(address, [head_of(form, BOB, path="/shop/hello"), head_of(form, ADA)], form.body)
        assert shop.started == ["shop.hello", "shop.who"]


@pytest.mark.parametrize("form", forms(*GRPC, *WEB))
async def test_no_spelling_of_a_credential_calls_a_method(form: Form) -> None:
    shop, own = Shop(), head_of(form, None)
    heads = [head_of(form, text) for text in credentials()] + [[*own, *fields] for fields in elsewhere()]
    assert len(heads) >= SPELLINGS
    async with guarded(shop) as address:
        await send_all(address, heads, form.body)
        await send_all(address, [own, own], form.body, [("authorization", ADA)])
        await send_all(address, [head_of(form, "x")], form.body, [("authorization", ADA)])
        assert shop.started == []
        await send_all(address, [head_of(form, ADA), head_of(form, f"bearer {ADA[7:]}")], form.body)
        assert shop.started == ["shop.who"] * 2


def lines_of(
    form: Form, token: str | None, *more: tuple[str, str], path: str = "/shop/who"
) -> list[tuple[str, str]]:
    """Return the fields of a request by HTTP/1.1, the path first."""
    shown = [] if token is None else [("Authorization", token)]
    fields = [("Content-Type", form.kind), ("Content-Length", str(len(form.body)))]
    return [("", path), ("Host", "127.0.0.1"), *fields, *form.fields, *shown, *more]


async def ask(address: Address, lines: Fields, body: bytes) -> None:
    """Send a request that may be malformed by HTTP/1.1, and return once it was answered, or its connection closed."""
    async with await HttpClient.to(address) as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in lines[1:])
        client.send(f"POST {lines[0][1]} HTTP/1.1\r\n{head}\r\n".encode() + body)
        async with asyncio.timeout(20):
            await client.reader.read(1)


@pytest.mark.parametrize("form", forms(*WEB))
async def test_no_spelling_calls_a_method_by_http_1(form: Form) -> None:
    shop, tokens = Shop(), [text for text in credentials() if text.isprintable()]
    own = lines_of(form, None)
    asked = [lines_of(form, BOB, path=path) for path in paths() if path.isprintable() and " " not in path]
    asked += [
        replaced(lines_of(form, BOB), "Content-Type", kind) for kind in kinds(form.kind) if kind.isprintable()
    ]
    assert len(asked) >= SPELLINGS
    asked += [lines_of(form, text) for text in tokens]
    # Names of fields have no case here.
    asked += [
        [*own, *fields]
        for fields in elsewhere()
        if len(fields) > 1 or fields[0][0].lower() != "authorization"
    ]
    chunked = replaced(own, "Content-Length", ("Transfer-Encoding", "chunked"), ("Trailer", "Authorization"))
    parts = b"%x\r\n%b\r\n" % (len(form.body), form.body) if form.body else b""
    async with guarded(shop) as address:
        for lines in asked:
            await ask(address, lines, form.body)
        await ask(address, chunked, parts + f"0\r\nAuthorization: {ADA}\r\n\r\n".encode())
        assert set(shop.started) <= {"shop.hello"}
        shop.started.clear()
        for lines in (lines_of(form, ADA), lines_of(form, BOB, path="/shop/hello")):
            await ask(address, lines, form.body)
        assert shop.started == ["shop.who", "shop.hello"]
