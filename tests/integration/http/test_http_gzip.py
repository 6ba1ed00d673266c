"""Answers compressed for clients that take gzip: `HTTP(compress=True)` and `current_call().http(compress=…)`."""

import contextlib
import gzip
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig, current_call
from tests.support.http_talk import HttpClient, Response, request
from tests.support.peer_writing import write_to

pytestmark = pytest.mark.one_loop

#: Above this a body is compressed in slices.
LONG = 200_000


@fastrpc.service("texts")
class Texts:
    @fastrpc.method(safe=True)
    async def text(self, size: int, compress: bool | None = None) -> str:
        if compress is not None:
            current_call().http(compress=compress)
        return "fastrpc " * (size // 8)

    @fastrpc.method
    async def echo(self, text: str) -> str:
        return text

    @fastrpc.method
    async def lines(self, count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield "fastrpc " * 1_000

    @fastrpc.method
    async def fail(self) -> None:
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "nothing " * 400)


@contextlib.asynccontextmanager
async def serving(compress: bool = True, **http: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("native", "http"), http=HTTP(compress=compress, **http))
    async with Server(Texts(), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


async def text(client: HttpClient, size: int, accepted: str | None = "gzip", **more: Any) -> Response:
    return await client.post("/texts/text", {"size": size} | more, Accept_Encoding=accepted)


def encoding(answer: Response) -> str | None:
    found = dict(answer.fields)
    return found.get("content-encoding")


@pytest.mark.parametrize("size", [2_048, 60_000, 70_000, LONG])
async def test_a_long_result_is_compressed(size: int) -> None:
    async with serving() as client:
        for _ in range(2):
            answer = await text(client, size)
            assert (answer.status, encoding(answer), answer["vary"]) == (200, "gzip", "Accept-Encoding")
            assert len(answer.body) == int(answer["content-length"]) < size // 10
            assert msgspec.json.decode(gzip.decompress(answer.body)) == "fastrpc " * (size // 8)


async def test_a_short_result_is_not() -> None:
    async with serving() as client:
        answer = await text(client, 800)
        assert (encoding(answer), answer["vary"], len(answer.value)) == (None, "Accept-Encoding", 800)


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("br, gzip", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("gzip; q=0", False),
        ("gzip;q=0.000", False),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
        ("identity", False),
        ("deflate, br", False),
        ("gzipped", False),
    ],
)
async def test_the_client_says_whether_it_takes_gzip(accepted: str | None, is_packed: bool) -> None:
    async with serving() as client:
        answer = await text(client, 4_096, accepted)
    assert (encoding(answer) == "gzip", answer["vary"]) == (is_packed, "Accept-Encoding")


async def test_results_are_uncompressed_by_default() -> None:
    async with serving(compress=False) as client:
        answer = await text(client, 4_096)
    assert (encoding(answer), "vary" in answer, len(answer.value)) == (None, False, 4_096)


@pytest.mark.parametrize("setting", [True, False])
async def test_a_handler_decides_about_its_answer(setting: bool) -> None:
    async with serving(setting) as client:
        for size in (4_096, LONG):
            assert encoding(await text(client, size, compress=True)) == "gzip"
            plain = await text(client, size, compress=False)
            assert (encoding(plain), len(plain.value)) == (None, size)
        assert encoding(await text(client, 4_096)) == ("gzip" if setting else None)


async def test_msgpack_get_head_and_a_compressed_request() -> None:
    async with serving() as client:
        body = msgspec.msgpack.encode({"size": 4_096})
        answer = await client.post(
            "/texts/text", body, Content_Type="application/msgpack", Accept_Encoding="gzip"
        )
        assert len(msgspec.msgpack.decode(gzip.decompress(answer.body))) == 4_096
        answer = await client.get("/texts/text?size=4096", Accept_Encoding="gzip")
        assert len(msgspec.json.decode(gzip.decompress(answer.body))) == 4_096
        write_to(client.writer, request("HEAD", "/texts/text?size=4096", Accept_Encoding="gzip"))
        answer = await client.response(has_body=False)
        assert (encoding(answer), answer.body) == ("gzip", b"")
        packed = gzip.compress(msgspec.json.encode({"text": "a" * 5_000}))
        for accepted in ("gzip", None):
            answer = await client.post(
                "/texts/echo", packed, Content_Encoding="gzip", Accept_Encoding=accepted
            )
            assert encoding(answer) == accepted
            told = gzip.decompress(answer.body) if accepted else answer.body
            assert msgspec.json.decode(told) == "a" * 5_000


async def test_streams_errors_and_json_rpc_are_never_compressed() -> None:
    async with serving(jsonrpc=True) as client:
        answer = await client.post("/texts/lines", {"count": 2}, Accept_Encoding="gzip")
        assert (encoding(answer), len(answer.lines)) == (None, 3)
        answer = await client.post("/texts/fail", {}, Accept_Encoding="gzip")
        assert (answer.status, encoding(answer), answer.value["code"]) == (404, None, "NOT_FOUND")
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "texts.text",
            "params": {"size": 4_096, "compress": True},
        }
        answer = await client.post("/jsonrpc", body, Accept_Encoding="gzip")
        assert (encoding(answer), len(answer.value["result"])) == (None, 4_096)


async def test_a_client_that_leaves_while_its_answer_is_compressed_harms_no_other() -> None:
    config = ServerConfig(protocols=("native", "http"), http=HTTP(compress=True))
    async with Server(Texts(), config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for _ in range(5):
            async with await HttpClient.to(address) as leaving:
                write_to(
                    leaving.writer,
                    request("POST", "/texts/text", {"size": 4_000_000}, Accept_Encoding="gzip"),
                )
                await leaving.writer.drain()
        async with await HttpClient.to(address) as client:
            answer = await text(client, LONG)
            assert len(msgspec.json.decode(gzip.decompress(answer.body))) == LONG
