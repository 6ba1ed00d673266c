"""Unary calls that come by gRPC, from grpcio and from a client that sends anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

import fastrpc
from fastrpc import (
    HTTP,
    Address,
    CallError,
    ConfigError,
    Limits,
    Server,
    ServerConfig,
    Status,
    Timeouts,
    current_call,
)
from tests.support.grpc_peer import GrpcPeer, grpc_peer, message
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ECHO = "/test.v1.Raw/echo"


@asynccontextmanager
async def serving(raw: Raw | None = None, **settings: Any) -> AsyncIterator[Address]:
    """Serve over TCP by native and gRPC; yield the address."""
    config = ServerConfig(protocols=("native", "grpc"), **settings)
    async with Server(raw or Raw(), config=config) as server:
        yield await server.listen("tcp://127.0.0.1:0")


@asynccontextmanager
async def peering(raw: Raw | None = None, **settings: Any) -> AsyncIterator[GrpcPeer]:
    async with serving(raw, **settings) as address, grpc_peer(address) as peer:
        yield peer


def channel(address: Address) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"{address.host}:{address.port}")


class TestGrpcio:
    async def test_calls_and_answers(self) -> None:
        async with serving() as address, channel(address) as client:
            call = client.unary_unary(ECHO)
            assert await asyncio.gather(*(call(bytes(size)) for size in (0, 1, 100_000, 3_000_000))) == [
                b"",
                b"\0",
                bytes(100_000),
                bytes(3_000_000),
            ]

    async def test_metadata_goes_both_ways(self) -> None:
        raw = Raw()
        async with serving(raw) as address, channel(address) as client:
            call = client.unary_unary("/test.v1.Raw/look")(
                b"", metadata=(("key", "value"), ("key", "other"), ("some-bin", b"\0\xfe"))
            )
            assert await call == b""
            assert not {"seen", "seen-bin"} & set(dict(await call.initial_metadata()))
            trailers = dict(await call.trailing_metadata())
            assert (trailers["seen"], trailers["seen-bin"]) == ("yes", b"\0\xff")
        [(_, metadata, peer, remaining, attempt)] = raw.calls
        assert (metadata["key"], metadata["some-bin"], remaining, attempt) == (
            "value,other",
            b"\0\xfe",
            None,
            0,
        )
        assert metadata["user-agent"].startswith("grpc-python-asyncio")
        assert not [
            key for key in metadata if key.startswith(("grpc-", ":")) or key in {"te", "content-type"}
        ]
        assert peer.protocol == "grpc"

    async def test_errors_have_status_text_and_details(self) -> None:
        async with serving() as address, channel(address) as client:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await client.unary_unary("/test.v1.Raw/fail")("grün %".encode())
        trailers = dict(failed.value.trailing_metadata())
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "grün %")
        assert (trailers["hint"], trailers["grpc-retry-pushback-ms"]) == ("other", "1500")
        assert b"google.protobuf.Value" in trailers["grpc-status-details-bin"]

    async def test_details_that_the_handler_sends_itself_are_unchanged(self) -> None:
        """`grpcio-status` writes them."""
        rich = b"\x08\x05\x12\x04gone"

        class Rich(Raw):
            @fastrpc.method(codec="raw")
            async def look(self, data: bytes) -> bytes:
                current_call().reply_metadata.binary["grpc-status-details-bin"] = rich
                raise CallError(Status.NOT_FOUND, "gone", details={"item": "apple"})

        async with serving(Rich()) as address, channel(address) as client:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await client.unary_unary("/test.v1.Raw/look")(b"")
        values = [value for key, value in failed.value.trailing_metadata() if key.startswith("grpc-status")]
        assert values == [rich]

    async def test_crashes_are_internal_with_an_id(self) -> None:
        async with serving() as address, channel(address) as client:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await client.unary_unary("/test.v1.Raw/crash")(b"")
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert "the server's log has the reason under id" in (failed.value.details() or "")

    async def test_deadlines_pass_on_both_sides(self) -> None:
        raw = Raw()
        async with serving(raw) as address, channel(address) as client:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await client.unary_unary("/test.v1.Raw/wait")(b"", timeout=0.3)
            assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await eventually(lambda: raw.cancelled == 1)

    async def test_cancelled_calls_stop_their_handlers(self) -> None:
        raw = Raw()
        async with serving(raw) as address, channel(address) as client:
            call = client.unary_unary("/test.v1.Raw/wait")(b"")
            await eventually(lambda: raw.started == 1)
            call.cancel()
            await eventually(lambda: raw.cancelled == 1)
            assert not raw.calls[0].is_expired
            assert await client.unary_unary(ECHO)(b"x") == b"x"

    async def test_many_calls_share_a_connection(self) -> None:
        async with serving() as address, channel(address) as client:
            call = client.unary_unary(ECHO)
            payloads = [b"%d" % number for number in range(500)]
            assert await asyncio.gather(*map(call, payloads)) == payloads


class TestRequests:
    async def test_an_answer_has_head_message_and_trailers(self) -> None:
        async with peering() as peer:
            answer = await peer.call(ECHO, b"hello")
            assert (answer.head, answer.messages, answer.trailers, answer.reset) == (
                {":status": "200", "content-type": "application/grpc"},
                [b"hello"],
                {"grpc-status": "0"},
                None,
            )

    @pytest.mark.parametrize("parts", [1, 3])
    async def test_a_request_may_come_in_any_pieces(self, parts: int) -> None:
        async with peering() as peer:
            stream = peer.open(ECHO)
            data = message(b"hello")
            for at in range(0, len(data), parts):
                peer.send(stream, data[at : at + parts])
                await asyncio.sleep(0)
            peer.send(stream, b"", ends=True)
            assert (await peer.end(stream)).messages == [b"hello"]

    async def test_a_request_may_end_by_trailers(self) -> None:
        async with peering() as peer:
            stream = peer.open(ECHO)
            peer.send(stream, message(b"hello"))
            peer.h2.send_headers(stream, [("some", "trailer")], end_stream=True)
            peer.flush()
            assert (await peer.end(stream)).messages == [b"hello"]

    async def test_te_is_not_demanded(self) -> None:
        async with peering() as peer:
            assert (await peer.call(ECHO, b"", [("user-agent", "x")])).status == 0

    @pytest.mark.parametrize(
        "kind", ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"]
    )
    async def test_types_of_grpc_are_taken(self, kind: str) -> None:
        async with peering() as peer:
            assert (await peer.call(ECHO, b"", kind=kind)).status == 0

    @pytest.mark.parametrize(
        "kind", [None, "application/json", "application/grpc-web", "application/grpc+thrift", "text/html"]
    )
    async def test_other_types_are_refused_by_http(self, kind: str | None) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            answer = await peer.call(ECHO, b"", kind=kind)
            assert (answer.head[":status"], answer.head["content-type"]) == (
                "415",
                "text/plain; charset=utf-8",
            )
            assert answer.data == b"a call of gRPC has the content-type application/grpc\n"
            assert (answer.is_ended, raw.started) == (True, 0)
            assert (await peer.call(ECHO, b"x")).messages == [b"x"]

    @pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "DELETE"])
    async def test_other_verbs_are_refused_by_http(self, method: str) -> None:
        async with peering() as peer:
            answer = await peer.end(peer.open(ECHO, ends=True, method=method))
            assert (answer.head[":status"], answer.head["allow"]) == ("405", "POST")
            assert answer.data == b"a call of gRPC is a POST\n"

    @pytest.mark.parametrize("http", [HTTP(), HTTP(connect=True)], ids=["grpc", "connect"])
    async def test_an_answer_to_head_has_no_content(self, http: HTTP) -> None:
        async with peering(http=http) as peer:
            answer = await peer.end(peer.open(ECHO, ends=True, method="HEAD"))
            assert (answer.head[":status"], answer.head["allow"]) == ("405", "POST")
            assert (answer.data, answer.is_ended) == (b"", True)

    @pytest.mark.parametrize(
        "path",
        [
            "/test.v1.Raw/nope",
            "/nope/echo",
            "/test.v1.raw/echo",
            "/",
            "/echo",
            "/a/b/c",
            "/test.v1.Raw/",
            "//x",
        ],
    )
    async def test_unknown_methods_are_unimplemented_and_did_not_run(self, path: str) -> None:
        async with peering() as peer:
            answer = await peer.call(path, b"")
            assert (answer.status, answer.end["frpc-outcome"]) == (Status.UNIMPLEMENTED, "1")
            assert answer.head[":status"] == "200"
            assert "no method" in answer.text

    @pytest.mark.parametrize("timeout", ["", "1", "S", "123456789S", "1s", "-1S", "1.5S"])
    async def test_a_malformed_timeout_is_internal(self, timeout: str) -> None:
        async with peering() as peer:
            answer = await peer.call(ECHO, b"", [("grpc-timeout", timeout)])
            assert (answer.status, "grpc-timeout" in answer.text) == (Status.INTERNAL, True)

    @pytest.mark.parametrize("timeout", ["0S", "0n"])
    async def test_a_timeout_of_nothing_is_over_at_once(self, timeout: str) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            answer = await peer.call(ECHO, b"", [("grpc-timeout", timeout)])
            assert (answer.status, raw.started) == (Status.DEADLINE_EXCEEDED, 0)

    async def test_a_call_without_a_timeout_has_no_deadline(self) -> None:
        """The server's default is for native calls."""
        raw = Raw()
        async with peering(raw, timeouts=Timeouts(call=1.0)) as peer:
            await peer.call("/test.v1.Raw/look", b"")
            await peer.call("/test.v1.Raw/look", b"", [("grpc-timeout", "5S")])
            assert [call[3] is None for call in raw.calls] == [True, False]

    async def test_a_cap_of_the_server_ends_a_call_with_trailers(self) -> None:
        async with peering() as peer:
            answer = await peer.call("/test.v1.Raw/limited", b"")
            assert (answer.status, answer.reset) == (Status.DEADLINE_EXCEEDED, None)

    async def test_attempts_are_known(self) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            await peer.call("/test.v1.Raw/look", b"", [("grpc-previous-rpc-attempts", "3")])
            assert raw.calls[0][4] == 3

    async def test_reserved_names_are_no_metadata(self) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            fields = [("grpc-made-up", "x"), ("frpc-made-up", "x"), ("own", "x")]
            await peer.call("/test.v1.Raw/look", b"", fields)
            assert raw.calls[0][1] == {"own": "x"}

    async def test_metadata_over_the_limit_is_refused(self) -> None:
        async with peering(limits=Limits(metadata_bytes=1_024)) as peer:
            answer = await peer.call(ECHO, b"", [("key", "x" * 2_000)])
            assert (answer.status, "Limits.metadata_bytes" in answer.text) == (
                Status.RESOURCE_EXHAUSTED,
                True,
            )
            assert (await peer.call(ECHO, b"x")).messages == [b"x"]


class TestMessages:
    async def test_a_request_without_a_message_is_unimplemented(self) -> None:
        async with peering() as peer:
            streams = [peer.open(ECHO, ends=True), peer.open(ECHO)]
            peer.send(streams[1], b"", ends=True)
            for stream in streams:
                answer = await peer.end(stream)
                assert (answer.status, answer.text) == (
                    Status.UNIMPLEMENTED,
                    "test.v1.Raw.echo takes one message, its caller sent none",
                )

    async def test_a_request_of_two_messages_is_unimplemented(self) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            stream = peer.open(ECHO)
            peer.send(stream, message(b"a") + message(b"b"), ends=True)
            answer = await peer.end(stream)
            assert (answer.status, answer.text) == (
                Status.UNIMPLEMENTED,
                "test.v1.Raw.echo takes one message, its caller sent more",
            )
            assert raw.started == 0

    @pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0", message(b"hello")[:-1], message(b"a") + b"\0"])
    async def test_a_request_that_ends_inside_a_message_is_internal(self, data: bytes) -> None:
        raw = Raw()
        async with peering(raw) as peer:
            stream = peer.open(ECHO)
            peer.send(stream, data, ends=True)
            answer = await peer.end(stream)
            assert (answer.status, answer.text) == (
                Status.INTERNAL,
                "the stream of the call ended inside a message",
            )
            assert raw.started == 0

    async def test_unknown_flags_are_internal(self) -> None:
        async with peering() as peer:
            stream = peer.open(ECHO)
            peer.send(stream, message(b"a", flags=2), ends=True)
            assert (await peer.end(stream)).status == Status.INTERNAL

    async def test_a_message_over_the_limit_is_refused_by_its_prefix(self) -> None:
        async with peering(limits=Limits(message_bytes=4_096)) as peer:
            assert (await peer.call(ECHO, bytes(4_096))).status == 0
            stream = peer.open(ECHO)
            peer.send(stream, message(bytes(5_000))[:100])
            answer = await peer.end(stream)
            assert (answer.status, answer.end["grpc-retry-pushback-ms"]) == (Status.RESOURCE_EXHAUSTED, "-1")
            assert "5000 bytes, the limit is 4096" in answer.text
            # The unread part of the request is not wanted.
            assert answer.reset == 0
            assert (await peer.call(ECHO, b"x")).messages == [b"x"]

    async def test_a_long_message_may_be_longer_than_its_window(self) -> None:
        async with peering() as peer:
            stream = peer.open(ECHO)
            await peer.send_all(stream, message(bytes(2_000_000)), ends=True)
            assert (await peer.end(stream)).messages == [bytes(2_000_000)]


async def test_nothing_listens_at_a_scheme_of_grpc() -> None:
    async with Server(Raw()) as server:
        with pytest.raises(ConfigError, match="cannot listen at grpc://127.0.0.1:1") as refused:
            await server.listen("grpc://127.0.0.1:1")
    assert 'tcp://127.0.0.1:1 with config=ServerConfig(protocols=("native", "grpc"))' in str(
        refused.value.hint
    )


@pytest.mark.parametrize("protocols", [("grpc",), ("http", "grpc"), ("grpc", "native", "http", "rpcx")])
async def test_grpc_is_served_together_with_any_other_protocol(protocols: tuple[str, ...]) -> None:
    async with Server(Raw(), config=ServerConfig(protocols=protocols)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with channel(address) as client:
            assert await client.unary_unary(ECHO)(b"x") == b"x"
