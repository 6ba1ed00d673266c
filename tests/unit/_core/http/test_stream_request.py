"""Streams of HTTP/2 as requests by gRPC-Web and Connect: their bodies, windows, senders and refusals."""

import asyncio
import base64
import json
from typing import Any

import pytest

from fastrpc import HTTP, Limits, Memory, Status
from fastrpc.auth import Identity, StaticTokens
from tests.support.grpc_peer import ServedGrpc, message, served_grpc
from tests.support.raw_methods import Raw
from tests.support.web_talk import frames, trailers_of

ECHO, TOTAL, BOTH, WAIT = (f"/test.v1.Raw/{name}" for name in ("echo", "total", "both", "wait"))
WEB = HTTP(connect=True, grpc_web=True)
PROTO = "application/proto"
TEXT = "application/grpc-web-text"
TOKENS = StaticTokens({"secret": Identity("ada")})
KIB = 1024


async def send_parts(link: ServedGrpc, stream: int, body: bytes, size: int) -> None:
    """Send a body in parts, as its windows allow, and end it unless it was answered before."""
    async with asyncio.timeout(30):
        while body and not link.answers[stream].is_over:
            if room := room_of(link, stream):
                part = body[: min(size, room)]
                link.send(stream, part)
                body = body[len(part) :]
            await link.talk()
    if not link.answers[stream].is_over:
        link.send(stream, b"", ends=True)


def room_of(link: ServedGrpc, stream: int) -> int:
    return int(link.h2.local_flow_control_window(stream))


class TestBodies:
    @pytest.mark.parametrize("is_stated", [True, False])
    @pytest.mark.parametrize("size", [0, 1, 7, 16_000, 300 * KIB])
    async def test_a_body_without_envelopes_is_one_message(self, size: int, is_stated: bool) -> None:
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        fields = [("content-length", str(size))] if is_stated else []
        async with served_grpc(Raw(), http=WEB) as link:
            stream = link.open(ECHO, fields, kind=PROTO)
            await send_parts(link, stream, body, 5 if size < 100 else 16_000)
            answer = await link.end(stream)
            assert (answer.head[":status"], answer.head["content-type"], answer.data) == ("200", PROTO, body)

    async def test_a_body_that_begins_like_a_grpc_message_is_not_read_as_grpc(self) -> None:
        body = message(b"abc")
        async with served_grpc(Raw(), http=WEB) as link:
            stream = link.open(ECHO, kind=PROTO)
            link.send(stream, body, ends=True)
            assert (await link.end(stream)).data == body

    @pytest.mark.parametrize(("most", "size"), [(500, 1), (500, 3), (100_000, 1_000), (300_000, 16_000)])
    async def test_a_text_is_taken_in_parts_of_any_size(self, most: int, size: int) -> None:
        raw = Raw()
        sent = [bytes(most), b"", bytes(most // 3), bytes(7)]
        async with served_grpc(raw, http=WEB, limits=Limits(stream_window_bytes=64 * KIB)) as link:
            stream = link.open(TOTAL, kind=TEXT)
            await send_parts(link, stream, base64.b64encode(b"".join(map(message, sent))), size)
            answer = await link.end(stream)
            assert answer.data.startswith(base64.b64encode(message(b"%d" % sum(map(len, sent)))))

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            (ECHO, "application/grpc-web+proto"),
            (TOTAL, "application/grpc-web+proto"),
            (TOTAL, "application/connect+proto"),
        ],
    )
    async def test_a_message_longer_than_its_window_comes_at_once(self, path: str, kind: str) -> None:
        body = message(bytes(900_000))
        async with served_grpc(Raw(), http=WEB, limits=Limits(stream_window_bytes=64 * KIB)) as link:
            stream = link.open(path, kind=kind)
            await send_parts(link, stream, body, 16_000)
            answer = await link.end(stream)
            assert next(len(part) for _, part in frames(answer.data)) in (6, 900_000)

    @pytest.mark.parametrize("is_stated", [True, False])
    async def test_a_body_over_the_limit_is_refused_before_it_is_complete(self, is_stated: bool) -> None:
        fields = [("content-length", str(10_000_000))] if is_stated else []
        async with served_grpc(Raw(), http=WEB, limits=Limits(message_bytes=100 * KIB)) as link:
            stream = link.open(ECHO, fields, kind=PROTO)
            await send_parts(link, stream, bytes(1_000_000), 16_000)
            answer = await link.end(stream)
            assert json.loads(answer.data)["code"] == "resource_exhausted"
            assert "(Limits.message_bytes)" in json.loads(answer.data)["message"]
            assert link.engine.connection.held_bytes < 20 * KIB

    async def test_a_body_ends_by_trailers_as_well(self) -> None:
        async with served_grpc(Raw(), http=WEB) as link:
            for kind, body, answered in (
                (PROTO, b"ab", b"ab"),
                ("application/grpc-web+proto", message(b"ab"), message(b"ab")),
            ):
                stream = link.open(ECHO, kind=kind)
                link.send(stream, body)
                link.h2.send_headers(stream, [("x-late", "1")], end_stream=True)
                assert (await link.end(stream)).data.startswith(answered)


class TestSenders:
    @pytest.mark.parametrize("kind", [PROTO, TEXT, "application/connect+proto", "application/grpc-web"])
    @pytest.mark.parametrize("path", [ECHO, TOTAL])
    async def test_a_long_body_of_a_stranger_is_not_kept(self, kind: str, path: str) -> None:
        raw = Raw()
        async with served_grpc(raw, authenticate=TOKENS, http=WEB) as link:
            stream = link.open(path, kind=kind)
            body = message(bytes(60_000))
            link.send(stream, body if kind != TEXT else base64.b64encode(body)[:60_000])
            answer = await link.end(stream)
            assert answer.head[":status"] in ("200", "401", "415")
            assert (raw.started, answer.is_over) == (0, True)
            assert link.engine.connection.held_bytes < 20 * KIB

    async def test_memory_bounds_bodies_without_a_length(self) -> None:
        async with served_grpc(
            Raw(),
            http=WEB,
            memory=Memory(request_bytes=4 * KIB * KIB),
            limits=Limits(message_bytes=4 * KIB * KIB),
        ) as link:
            streams = [link.open(ECHO, kind=PROTO) for _ in range(5)]
            for _ in range(80):
                for stream in streams:
                    if not link.answers[stream].is_over and room_of(link, stream) >= 16_000:
                        link.send(stream, bytes(16_000))
                await link.talk()
            refused = [one for one in streams if link.answers[one].is_over]
            assert refused
            for stream in refused:
                assert json.loads(link.answers[stream].data)["code"] == "resource_exhausted"
            assert link.engine.connection.held_bytes <= 5 * KIB * KIB
            for stream in set(streams) - set(refused):
                link.reset(stream)
            await link.talk()
            assert link.engine.connection.held_bytes < 20 * KIB


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"method": "GET", "kind": None}, "405"),
            ({"kind": "application/json"}, "415"),
            ({"kind": "text/plain"}, "415"),
            ({"kind": None}, "415"),
            ({"kind": "application/grpc-web+thrift"}, "415"),
            ({"method": "OPTIONS", "kind": None}, "405"),
        ],
    )
    async def test_requests_that_are_no_calls_have_a_status_of_http(
        self, fields: dict[str, Any], status: str
    ) -> None:
        async with served_grpc(Raw(), http=WEB) as link:
            answer = await link.end(link.open(ECHO, ends=True, **fields))
            assert answer.head[":status"] == status

    async def test_grpc_is_served_next_to_grpc_web_and_connect(self) -> None:
        async with served_grpc(Raw(), http=WEB) as link:
            assert (await link.call(ECHO, b"x")).messages == [b"x"]
            answer = await link.end(link.open(ECHO, method="PUT", ends=True))
            assert (answer.head[":status"], answer.head["allow"]) == ("405", "POST")

    @pytest.mark.parametrize(
        ("path", "fields", "status"),
        [
            ("/" + "a" * 9_000, [], "414"),
            (ECHO, [(f"x-{number}", "") for number in range(101)], "431"),
            (ECHO, [("expect", "money")], "417"),
        ],
    )
    async def test_a_head_that_http_refuses_is_answered(self, path: str, fields: Any, status: str) -> None:
        async with served_grpc(Raw(), http=WEB, limits=Limits(metadata_bytes=65_000)) as link:
            answer = await link.end(link.open(path, fields, kind=PROTO, ends=True))
            assert answer.head[":status"] == status
            assert json.loads(answer.data)["status"] == int(status)

    async def test_too_much_metadata_is_told_in_the_form_of_the_protocol(self) -> None:
        fields = [("x-long", "a" * 9_000)]
        async with served_grpc(Raw(), http=WEB) as link:
            answer = await link.end(link.open(ECHO, fields, kind=PROTO, ends=True))
            assert json.loads(answer.data)["code"] == "resource_exhausted"
            answer = await link.end(link.open(ECHO, fields, kind="application/grpc-web", ends=True))
            assert trailers_of(answer.data)["grpc-status"] == str(int(Status.RESOURCE_EXHAUSTED))
            answer = await link.end(link.open(ECHO, fields, ends=True))
            assert answer.status == Status.RESOURCE_EXHAUSTED

    async def test_a_wrong_body_ends_its_stream_alone(self) -> None:
        async with served_grpc(Raw(), http=WEB) as link:
            other = link.open(BOTH, kind="application/connect+proto")
            stream = link.open(TOTAL, kind=TEXT)
            link.send(stream, b"AAAA*AAA")
            answer = await link.end(stream)
            assert b"the body of the call is not base64" in base64.b64decode(answer.data)
            link.send(other, message(b"on"), ends=True)
            assert frames((await link.end(other)).data)[0] == (0, b"on")


async def test_a_reset_cancels_the_handler() -> None:
    raw = Raw()
    async with served_grpc(raw, http=WEB) as link:
        stream = link.open(WAIT, kind=PROTO)
        link.send(stream, b"x", ends=True)
        await link.talk()
        assert raw.started == 1
        link.reset(stream)
        await link.talk()
        assert not link.engine.connection.running
