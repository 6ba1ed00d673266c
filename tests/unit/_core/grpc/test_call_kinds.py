"""Calls of gRPC and of pages on one connection: each has the words, the forms and the streams of its kind."""

from collections.abc import AsyncIterator

import fastrpc
from fastrpc import Server, ServerConfig, Status, current_call
from tests.support.grpc_bytes import message
from tests.support.http2_client import Http2Client, http2_client

PROTOCOLS = ("http", "grpc")


@fastrpc.service("test.v1.Kinds")
class Kinds:
    """Methods that tell by which protocol they were called."""

    @fastrpc.method(safe=True)
    async def protocol(self) -> str:
        peer = current_call().peer
        return "" if peer is None else peer.protocol

    @fastrpc.method(safe=True)
    async def protocols(self, count: int = 2) -> AsyncIterator[str]:
        for _ in range(count):
            yield await self.protocol()


async def called(client: Http2Client, path: str) -> tuple[int | None, bytes, str]:
    """Call a method by gRPC in JSON; return its status, its messages and its text."""
    stream = client.peer.open(path, kind="application/grpc+json")
    client.peer.send(stream, message(b"{}"), ends=True)
    answer = await client.peer.end(stream)
    return answer.status, b",".join(answer.messages), answer.text


async def test_each_call_has_the_form_of_its_kind() -> None:
    async with Server(Kinds(), config=ServerConfig(protocols=PROTOCOLS)) as server:
        async with http2_client(await server.listen("tcp://127.0.0.1:0")) as client:
            assert (await client.get("/test.v1.Kinds/protocol")).value == "http"
            assert (await called(client, "/test.v1.Kinds/protocol"))[:2] == (Status.OK, b'{"value":"grpc"}')


async def test_each_stream_has_the_form_of_its_kind() -> None:
    async with Server(Kinds(), config=ServerConfig(protocols=PROTOCOLS)) as server:
        async with http2_client(await server.listen("tcp://127.0.0.1:0")) as client:
            lines = await client.get("/test.v1.Kinds/protocols", Accept="application/x-ndjson")
            assert lines.lines[:2] == [{"value": "http"}] * 2
            assert (await called(client, "/test.v1.Kinds/protocols"))[:2] == (
                Status.OK,
                b'{"value":"grpc"},{"value":"grpc"}',
            )


async def test_each_refusal_has_the_words_of_its_kind() -> None:
    async with Server(Kinds(), config=ServerConfig(protocols=PROTOCOLS)) as server:
        async with http2_client(await server.listen("tcp://127.0.0.1:0")) as client:
            assert (await client.get("/test.v1.Kinds/none")).status == 404
            status, _, _ = await called(client, "/test.v1.Kinds/none")
            assert status == Status.UNIMPLEMENTED
