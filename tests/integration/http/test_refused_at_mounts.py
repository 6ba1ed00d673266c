"""Requests that could smuggle another one, are malformed or odd have the same end at an application as at a method."""

import asyncio
import base64
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import Address, HTTPLimits, Limits
from fastrpc.transports.base import DialOptions
from fastrpc.transports.memory import MemoryTransport
from tests.support.http_talk import WAIT_SECONDS, HttpClient
from tests.support.malformed_requests import TYPE, got, malformed, posted
from tests.support.mounted import mounted
from tests.support.socket_client import KEY
from tests.support.waiting import eventually
from tests.unit._core.http1.test_refused_requests import REFUSED

pytestmark = pytest.mark.one_loop

#: As long as each other: they count for the limits of a head.
METHOD, MOUNT = b"/stock/count", b"/mount/count"

#: Behind each request, on its connection; it is the last one of that.
BEHIND = b"GET /smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

CHUNKED = b"Transfer-Encoding: chunked"
ID = b"X-Request-Id: a.b_C-9"
BODY = b'{"name": "abc"}'


class Counting:
    """An application that answers as `stock.count` does, and keeps the paths that it was asked for."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.sizes: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] != "lifespan"
        self.paths.append(scope["path"])
        body = b""
        while (event := await receive()).get("more_body"):
            body += event["body"]
        if event["type"] == "http.disconnect":
            return
        body += event["body"]
        self.sizes.append(len(body))
        is_call = scope["method"] == "POST" and body.startswith(b"{")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        answer = b"%d" % len(json.loads(body)["name"]) if is_call else b"0"
        await send({"type": "http.response.body", "body": answer})


class Received(asyncio.BufferedProtocol):
    """The bytes received on a connection in memory."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.is_over = False
        self._place = bytearray(1 << 16)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        self.reader.feed_data(self._place[:nbytes])

    def connection_lost(self, error: Exception | None) -> None:
        self.is_over = True
        self.reader.feed_eof()


class Serving:
    """A server with such an application in addition to the method."""

    def __init__(self, client: HttpClient, in_memory: Address, application: Counting) -> None:
        self._address = client.address  # type: ignore[attr-defined]
        self._in_memory = in_memory
        self.application = application

    async def answer(self, data: bytes) -> bytes:
        """Return all that comes for these bytes on a connection of their own, but the dates."""
        async with await HttpClient.to(self._address) as talk:
            talk.send(data)
            return await without_dates(talk.reader)

    async def answer_to_pieces(self, *pieces: bytes) -> bytes:
        """Return the answer to bytes of which the server reads each piece separately."""
        transport, received = await MemoryTransport().dial(self._in_memory, Received, DialOptions())
        try:
            for piece in pieces:
                transport.write(piece)
                # In memory these are the bytes that the server has not read.
                await eventually(lambda: transport.get_write_buffer_size() == 0 or received.is_over)
            return await without_dates(received.reader)
        finally:
            transport.close()

    async def ends(self, data: bytes, *, is_cut: bool = False, method: bytes = METHOD) -> list[bytes]:
        """Return the answers to a request at the method, and at the application."""
        found = []
        for path in (method, MOUNT):
            sent = data.replace(b"/x", path)
            if is_cut:
                found.append(await self.answer_to_pieces(sent[:7], sent[7:-9], sent[-9:] + BEHIND))
            else:
                found.append(await self.answer(sent + BEHIND))
        return found


async def without_dates(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(WAIT_SECONDS):
        return re.sub(rb"Date: [^\r]*\r\n", b"", await reader.read())


@asynccontextmanager
async def serving(calls: Limits | None = None, **http: Any) -> AsyncIterator[Serving]:
    application = Counting()
    # HTTP/1.1 alone: no protocol has to be detected from the first bytes, and HTTP/2 is a request like others.
    config = {"protocols": ("http",), "limits": calls or Limits()}
    async with mounted({"/mount": application}, http={"http2": False} | http, config=config) as client:
        in_memory = await client.server.listen("memory://mounts")  # type: ignore[attr-defined]
        yield Serving(client, in_memory, application)


def responses(answer: bytes) -> list[tuple[int, bytes]]:
    """Return status and body of each response that is not an interim one."""
    found = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        status = int(re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r]*", head.split(b"\r\n")[0])[1])  # type: ignore[index]
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        size = 0 if length is None else int(length[1])
        if status != 100:
            found.append((status, answer[:size]))
        answer = answer[size:]
    return found


def refused() -> list[bytes]:
    """Return all requests that are refused, each once."""
    ours = [data.replace(b"Host: a\r\n", b"Host: 127.0.0.1\r\n%b\r\n" % TYPE) for data in REFUSED.values()]
    return list(dict.fromkeys([*ours, *malformed()]))


def test_there_are_1_700_of_them() -> None:
    assert len(refused()) >= 1_700


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
async def test_a_request_that_could_smuggle_ends_at_an_application_as_at_a_method(is_cut: bool) -> None:
    async with serving() as server:
        for data in refused():
            method, mount = await server.ends(data, is_cut=is_cut)
            assert method == mount, data
            ((status, body),) = responses(mount)
            assert status in (400, 417), data
            document = json.loads(body)
            assert (document["status"], document["code"], document["processed"]) == (
                status,
                "INVALID_ARGUMENT",
                "no",
            )
            assert document["detail"], data
        assert "/smuggled" not in server.application.paths
        assert server.application.sizes == []


# Requests that are odd, and yet no mistake


def in_chunks(body: bytes, size: int, *, line: bytes = b"%x\r\n") -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(line % len(part) + part + b"\r\n" for part in parts)


CONNECTIONS = [
    *(
        b"",
        b",",
        b" , ,",
        b"keep-alive",
        b"keep-alive,",
        b"keep-alive, x",
        b"closed",
        b"\xa0close",
        b"x",
        b"Upgrade",
    ),
    *(
        b"close",
        b"CLOSE",
        b"close, x",
        b"x,close",
        b"x\r\nConnection: close",
        b"keep-alive, close",
        b"content-length",
    ),
]

ODD = [
    *(
        posted(b"Content-Length:" + one, body=BODY)
        for one in (b"15", b"\t15", b"  15 \t", b" 00015", b"0" * 16 + b"15")
    ),
    *(
        posted(name + b": 15", body=BODY)
        for name in (b"content-length", b"CONTENT-LENGTH", b"cOnTeNt-LeNgTh")
    ),
    *(
        posted(name, body=in_chunks(BODY, 15) + b"0\r\n\r\n")
        for name in (
            CHUNKED,
            b"transfer-encoding:chunked",
            b"TRANSFER-ENCODING: CHUNKED \t",
            b"Transfer-Encoding:\tChunKed",
        )
    ),
    *(
        posted(CHUNKED, body=in_chunks(BODY, size, line=line) + b"0\r\n\r\n")
        for size, line in itertools.product(
            (1, 4, 15), (b"%X\r\n", b"%014x\r\n", b"%x;\r\n", b"%x;a\r\n", b"%x;a=b;c\r\n", b'%x;a=";\t"\r\n')
        )
    ),
    *(
        posted(CHUNKED, body=in_chunks(BODY, 8) + b"0\r\n" + one + b"\r\n\r\n")
        for one in (
            b"X: 1",
            b"X:",
            b"X:1\r\nY:2",
            b"Content-Length: 5",
            CHUNKED,
            b"Host: evil.example",
            b"Connection: close",
        )
    ),
    *(
        posted(CHUNKED, body=in_chunks(BODY, 8) + last + b"\r\n\r\n")
        for last in (b"000000000000000", b"0;a=b", b"00")
    ),
    *(
        got(line=b"GET " + target + b" HTTP/1.1")
        for target in (
            b"http://127.0.0.1/x",
            b"HTTP://127.0.0.1/x",
            b"https://127.0.0.1/x",
            b"http://127.0.0.1/x?",
        )
    ),
    *(
        b"\r\n" + got(),
        got(b"Content-Length: 0"),
        got(b"Expect: 100-continue"),
        got(b"X:"),
        got(b"X:  a\t b "),
        got(b"X:Y: 1"),
    ),
    *(
        got(b"!#$%&'*+-.^_`|~: 1"),
        got(b"X: \x80\xff\xa0"),
        got(b"Trailer: X"),
        got(b"TE: trailers"),
        got(b"Via: 1.0 a"),
    ),
    *(
        posted(b"Expect: 100-Continue", b"Content-Length: 15", body=BODY),
        posted(b"expect:100-CONTINUE", CHUNKED, body=b"0\r\n\r\n"),
    ),
    *(got(b"Connection: " + one) for one in CONNECTIONS),
    *(posted(b"Connection: " + one, b"Content-Length: 15", body=BODY) for one in CONNECTIONS),
    *(got(b"Connection: " + one, line=b"GET /x HTTP/1.0") for one in CONNECTIONS),
    *(
        got(line=b"GET /x HTTP/1.0"),
        got(line=b"GET /x HTTP/1.0", host=b""),
        posted(b"Content-Length: 15", body=BODY, version=b"1.0"),
    ),
    *(
        got(b"Connection: Upgrade", b"Upgrade: " + one)
        for one in (
            b"",
            b"h2c",
            b"TLS/1.2",
            b"HTTP/2.0",
            b"websocket2",
            b"web socket",
            b"a, b",
            b"websocket; q=1",
        )
    ),
    *(
        got(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        got(b"Keep-Alive: timeout=5"),
    ),
    *(
        posted(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 15", body=BODY),
        got(b"Proxy-Connection: close"),
    ),
]


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
async def test_an_odd_request_is_understood_by_an_application_as_by_a_method(is_cut: bool) -> None:
    assert len(set(ODD)) >= 100
    async with serving() as server:
        for data in ODD:
            method, mount = await server.ends(data, is_cut=is_cut)
            assert responses(method) == responses(mount), data
            assert responses(mount)[0][0] == 200, data


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize(
    "data",
    [got(b"Content-Length: 5") + b"hello", got(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n"],
    ids=["by its length", "by its chunks"],
)
async def test_the_body_of_a_get_that_a_method_refuses_ends_there_as_at_an_application(
    data: bytes, is_cut: bool
) -> None:
    async with serving() as server:
        method, mount = map(responses, await server.ends(data, is_cut=is_cut))
        assert (method[0][0], mount[0]) == (400, (200, b"0"))
        assert (len(method), method[1:]) == (2, mount[1:])


HOSTS = [
    *(
        b"evil.example",
        b"EVIL.example:80",
        b"127.0.0.1.evil.example",
        b"localhost.evil.example",
        b"127.1",
        b"0x7f000001",
    ),
    *(
        b"2130706433",
        b"127.0.0.1.1",
        b"xn--e1aybc",
        b"%6cocalhost",
        b"localhost%00",
        b"local-host",
        b"*",
        b"~",
    ),
]


async def test_another_host_has_the_same_answer_at_an_application() -> None:
    async with serving() as server:
        for host, line in itertools.product(
            HOSTS, (b"GET /x HTTP/1.1", b"PUT /x HTTP/1.1", b"GET /x HTTP/1.0")
        ):
            method, mount = await server.ends(got(host=b"Host: " + host, line=line))
            assert method == mount, (host, line)
            assert responses(mount)[0][0] == 421, (host, line)
        assert server.application.paths == []


# Handshakes of WebSocket


def handshake(*others: bytes, line: bytes = b"GET /x HTTP/1.1", **fields: bytes | None) -> bytes:
    """Return a handshake with these fields in place of its own; None leaves one out."""
    given = {
        "Upgrade": b"websocket",
        "Connection": b"Upgrade",
        "Sec-WebSocket-Version": b"13",
        "Sec-WebSocket-Key": KEY.encode(),
        "Sec-WebSocket-Protocol": b"fastrpc.json",
    }
    given |= {name.replace("_", "-"): value for name, value in fields.items()}  # type: ignore[misc]
    return got(
        *(b"%b: %b" % (name.encode(), one) for name, one in given.items() if one is not None),
        *others,
        line=line,
    )


HANDSHAKES = [
    *(handshake(Connection=one) for one in (None, b"", b"close", b"keep-alive", b"Upgraded", b"x-upgrade")),
    *(
        handshake(Sec_WebSocket_Version=one)
        for one in (None, b"", b"0", b"8", b"12", b"14", b"013", b"-13", b"13, 8", b"13.0")
    ),
    *(
        handshake(Sec_WebSocket_Key=one)
        for one in (
            *(
                None,
                b"",
                b"x",
                b"====",
                KEY.encode()[:-4],
                KEY.encode() + b"AAAA",
                KEY.encode() * 2,
                KEY.encode()[:-2],
            ),
            *(
                b"-_" + KEY.encode()[2:],
                b"dGhlIHNhbXBsZSBub 5jZQ==",
                base64.b64encode(bytes(15)),
                base64.b64encode(bytes(17)),
            ),
        )
    ),
    *(handshake(b"Sec-WebSocket-Version: 13"), handshake(b"Sec-WebSocket-Key: " + KEY.encode())),
    *(handshake(b"Content-Length: 5") + b"hello", handshake(line=b"GET /x HTTP/1.0")),
]


async def test_a_malformed_handshake_has_the_same_answer_at_an_application() -> None:
    async with serving(websocket=True) as server:
        for data in HANDSHAKES:
            method, mount = await server.ends(data, method=b"/ws" + METHOD)
            assert method == mount, data
            assert responses(mount)[0][0] in (400, 426), data
        assert server.application.paths == []


# More than the limits


SMALL = HTTPLimits(headers=4, header_bytes=256, target_bytes=64)

TOO_MUCH = {
    "target": (got(line=b"GET /x?" + b"y" * 60 + b" HTTP/1.1"), 414),
    "target without an end": (b"GET /x?" + b"y" * 500, 414),
    "absolute target": (got(line=b"GET http://127.0.0.1/x?" + b"y" * 60 + b" HTTP/1.1"), 414),
    "fields": (got(b"A: 1", b"B: 1", b"C: 1", b"D: 1"), 431),
    "fields of one name": (got(*(b"Cookie: a",) * 4), 431),
    "bytes of a field": (got(b"A: " + b"z" * 256), 431),
    "bytes of a name": (got(b"A" * 256 + b": 1"), 431),
    "bytes of several fields": (got(*(b"A: " + b"z" * 90,) * 3), 431),
    "fields without an end": (b"GET /x HTTP/1.1\r\nA: " + b"z" * 600, 431),
    "trailers": (posted(CHUNKED, body=b"0\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\n\r\n"), 431),
    "trailers of a request with an id": (posted(ID, CHUNKED, body=b"0\r\n" + b"A: 1\r\n" * 5 + b"\r\n"), 431),
    "trailers of a GET": (got(CHUNKED) + b"0\r\n" + b"A: 1\r\n" * 5 + b"\r\n", 431),
    "trailers behind chunks": (
        posted(CHUNKED, body=in_chunks(BODY, 4) + b"0\r\n" + b"A: 1\r\n" * 5 + b"\r\n"),
        431,
    ),
    "bytes of trailers": (posted(CHUNKED, body=b"0\r\n" + (b"A: " + b"z" * 90 + b"\r\n") * 3 + b"\r\n"), 431),
    "bytes of one trailer": (posted(CHUNKED, body=b"0\r\nA: " + b"z" * 256 + b"\r\n\r\n"), 400),
    "another Expect": (posted(b"Expect: 200-ok", b"Content-Length: 1", body=b"1"), 417),
}


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize(("data", "status"), TOO_MUCH.values(), ids=TOO_MUCH)
async def test_a_request_over_a_limit_has_the_same_answer_at_an_application(
    data: bytes, status: int, is_cut: bool
) -> None:
    async with serving(limits=SMALL) as server:
        method, mount = await server.ends(data, is_cut=is_cut)
        assert method == mount
        assert [found for found, _ in responses(mount)] == [status]
        assert server.application.sizes == []


@pytest.mark.parametrize(
    "data",
    [
        posted(b"Content-Length: 20000", body=b"x" * 20_000),
        posted(CHUNKED, body=in_chunks(b"x" * 20_000, 1_000) + b"0\r\n\r\n"),
        posted(CHUNKED, body=in_chunks(b"x" * 20_000, 20_000) + b"0\r\n\r\n"),
    ],
    ids=["by its length", "by its chunks", "by one chunk"],
)
async def test_a_body_over_the_limit_of_methods_is_taken_by_an_application(data: bytes) -> None:
    async with serving(Limits(message_bytes=10_000)) as server:
        method, mount = await server.ends(data)
        assert [status for status, _ in responses(method)] == [413]
        assert [status for status, _ in responses(mount)] == [200, 404]
        assert server.application.sizes == [20_000]
