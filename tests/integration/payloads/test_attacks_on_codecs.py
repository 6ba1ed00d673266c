"""Attacks from advisories of 2025 and 2026 on foreign codecs, tried with ours over every protocol that has them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Client, DecodeError, Limits, ServerConfig, Status, SyncClient
from tests.support.frame_factory import answer, opening, request
from tests.support.http_talk import HttpClient
from tests.support.raw_peer import RawServer, raw_client
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_wire import MSGPACK, Frame
from tests.support.served import served
from tests.support.web_talk import CONNECT, cut, enveloped
from tests.support.wire_frames import Request, Response

pytestmark = pytest.mark.one_loop

#: Values of msgpack that end too early, and one byte that begins no value.
CUT_OFF = {
    "a byte that begins no value": b"\xc1",
    "that byte in an array": b"\x91\xc1",
    "that byte as a key": b"\x81\xc1\x01",
    "fixext 1 without its content": b"\xd4\x01",
    "fixext 4, cut": b"\xd6\x01\x00\x00",
    "fixext 16, cut": b"\xd8\x01" + bytes(15),
    "fixext without its type": b"\xd5",
    "ext 8, cut": b"\xc7\x05\x01abc",
    "ext 32 of 4 GiB": b"\xc9\xff\xff\xff\xff\x01",
    "an array, cut": b"\xdc\x00\x10\x01",
    "a text, cut": b"\xd9\x05abc",
    "a map without its value": b"\x81\xa1a",
}
each = pytest.mark.parametrize("name", CUT_OFF)


@fastrpc.service("values")
class Values:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method
    async def typed(self, value: dict[str, int]) -> int:
        self.ran += 1
        return len(value)

    @fastrpc.method
    async def untyped(self, value: Any) -> Any:
        self.ran += 1
        return value

    @fastrpc.method
    async def streamed(self, values: AsyncIterator[Any]) -> int:
        self.ran += 1
        return len([value async for value in values])


@each
async def test_a_cut_off_request_is_refused_at_once_and_the_next_one_answered(name: str) -> None:
    content, values = CUT_OFF[name], Values()
    config = ServerConfig(protocols=("native", "http", "rpcx"))
    async with served(values, scheme="tcp", config=config) as target:
        async with raw_client(target) as peer:
            peer.send(opening(False))
            methods = (b"values.typed", b"values.untyped")
            for number, method in zip((1, 3), methods, strict=True):
                peer.send(request(number, b"\x91" + content, method=method, codec=1))
                assert (await peer.next(Response)).status == Status.INVALID_ARGUMENT
            peer.send(request(9, b"\x91\x80", method=methods[0], codec=1))
            assert (await peer.next(Response)).status == Status.OK
        async with await HttpClient.to(target) as client:
            body = b"\x81\xa5value" + content
            told = await client.post("/values/untyped", body, Content_Type="application/msgpack")
            assert told.status == 400
            told = await client.post(
                "/values/typed", b"\x81\xa5value\x80", Content_Type="application/msgpack"
            )
            assert told.status == 200
        async with rpcx_talk(target.server) as talk:
            for method in ("typed", "untyped"):
                told = await talk.ask(Frame(path="values", method=method, payload=content, serialize=MSGPACK))
                assert told.metadata["frpc-code"] == "INVALID_ARGUMENT"
            whole = Frame(path="values", method="typed", payload=b"\x80", serialize=MSGPACK)
            assert (await talk.ask(whole)).status == 0
    assert values.ran == 3


@each
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_cut_off_answer_fails_its_call_alone(name: str, kind: str) -> None:
    async with RawServer() as server:

        async def answers() -> None:
            peer = await server.accept()
            peer.send(opening(True))
            for content in (CUT_OFF[name], b"\x01"):
                asked = await peer.next(Request)
                peer.send(answer(asked.id, content, codec=1))
            await peer.ended()

        answering = asyncio.ensure_future(answers())
        if kind == "async":
            async with Client(server.address) as client:
                with pytest.raises(DecodeError):
                    await client.call(Values.untyped, 1)
                assert await client.call(Values.untyped, 1) == 1
        else:
            await asyncio.to_thread(call_twice, server.address)
        await answering


def call_twice(address: str) -> None:
    with SyncClient(address) as client:
        with pytest.raises(DecodeError):
            client.call(Values.untyped, 1)
        assert client.call(Values.untyped, 1) == 1


ANY = "type.googleapis.com/google.protobuf."


def structs(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def lists(depth: int) -> str:
    return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def anys(depth: int) -> str:
    head = f'{{"@type":"{ANY}Any","value":'
    return head * (depth - 1) + f'{{"@type":"{ANY}Struct","value":{{}}}}' + "}" * (depth - 1)


def structs_in_an_any(depth: int) -> str:
    return f'{{"@type":"{ANY}Struct","value":{structs(depth - 1)}}}'


NESTED = {
    "Struct": (structs, "Struct"),
    "ListValue": (lists, "Struct"),
    "Any": (anys, "Any"),
    "Struct in Any": (structs_in_an_any, "Any"),
}


def trees(kind: str) -> Any:
    """Return a service that takes one of protobuf's own types that nest."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import any_pb2, struct_pb2

    message: Any = {"Any": any_pb2.Any, "Struct": struct_pb2.Struct}[kind]

    @fastrpc.service("trees")
    class Trees:
        @fastrpc.method
        async def take(self, tree: message) -> message:  # type: ignore[valid-type]
            return message()

        @fastrpc.method
        async def take_all(self, trees: AsyncIterator[message]) -> message:  # type: ignore[valid-type]
            async for _ in trees:
                pass
            return message()

    return Trees()


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("limit", [100, 1_024])
async def test_nested_values_of_protobuf_in_json_are_refused(
    name: str, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Parsers of protobuf recurse: none of them counted one level of `Any` (CVE-2026-0994)."""
    make, kind = NESTED[name]
    config = ServerConfig(protocols=("native", "http"), http=HTTP(connect=True), limits=Limits(depth=limit))
    async with served(trees(kind), scheme="tcp", config=config) as target:
        for depth, may_fit in ((10, True), (limit - 3, None), (limit + 1, False), (20 * limit, False)):
            body = make(depth).encode()
            async with await HttpClient.to(target) as client:
                told = await client.post("/trees/take", body, **CONNECT)
                streamed = await client.post(
                    "/trees/take_all", enveloped(body), Content_Type="application/connect+json"
                )
            code = told.value.get("code") if told.status != 200 else None
            error = cut(streamed)[1].get("error", {}).get("code")
            assert code == error
            assert (
                code in {True: {None}, None: {None, "invalid_argument"}, False: {"invalid_argument"}}[may_fit]
            )
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_parser_that_recurses_too_deeply_refuses_the_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some versions of protobuf let the error of the interpreter through."""
    from google.protobuf import json_format

    def recurses(*_: Any, **__: Any) -> Any:
        raise RecursionError

    config = ServerConfig(protocols=("native", "http"), http=HTTP(connect=True))
    async with served(trees("Struct"), scheme="tcp", config=config) as target:
        monkeypatch.setattr(json_format, "Parse", recurses)
        async with await HttpClient.to(target) as client:
            told = await client.post("/trees/take", b"{}", **CONNECT)
            streamed = await client.post(
                "/trees/take_all", enveloped(b"{}"), Content_Type="application/connect+json"
            )
        assert told.value["code"] == cut(streamed)[1]["error"]["code"] == "invalid_argument"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
