"""Calls by gRPC-Web over both versions of HTTP (PROTOCOL-WEB.md of gRPC)."""

import base64
import gzip
from typing import Any

import pytest

from fastrpc.auth import Identity, StaticTokens
from tests.support import web_talk
from tests.support.http_talk import HttpClient, Response, soon
from tests.support.web_talk import Orders, Serving, enveloped, frames, in_parts, trailers_of

pytestmark = pytest.mark.one_loop

PROTO = "application/grpc-web+proto"
TEXT = "application/grpc-web-text"


async def ask(client: Any, method: str, body: bytes, **fields: str | None) -> Response:
    return await client.post(f"/shop.v1.Orders/{method}", body, **({"Content_Type": PROTO} | fields))


def varint(number: int) -> bytes:
    """Return the field 1 of a message, a small number."""
    return bytes((8, number))


def texts(body: bytes) -> list[bytes]:
    """Return the field 1, a text, of each message."""
    return [message[2:] for flags, message in frames(body) if flags == 0]


async def test_the_trailers_are_the_last_frame(serving: Serving) -> None:
    async with serving() as client:
        for kind in (PROTO, "application/grpc-web", "Application/gRPC-Web+Proto"):
            answer = await ask(client, "GetItem", enveloped(varint(7)), Content_Type=kind)
            assert (answer.status, answer["content-type"]) == (200, kind.lower())
            assert texts(answer.body) == [b"item 7"]
            assert trailers_of(answer.body) == {"grpc-status": "0", "seen": "yes"}


async def test_a_failure_has_the_fields_of_grpc(serving: Serving) -> None:
    async with serving() as client:
        answer = await ask(client, "Fail", enveloped(varint(9)))
        assert answer.status == 200
        assert frames(answer.body) == [(0x80, b"grpc-status: 9\r\ngrpc-message: %C3%BCber 9\r\n")]
        answer = await ask(client, "GetItem", enveloped(b""))
        assert trailers_of(answer.body)["grpc-status"] == "5"
        assert b"no order 0" in base64.b64decode(trailers_of(answer.body)["grpc-status-details-bin"] + "==")


async def test_a_server_streams(serving: Serving) -> None:
    async with serving() as client:
        answer = await ask(client, "Count", enveloped(varint(4)))
        assert answer["first"] == "head"
        assert texts(answer.body) == [b"0", b"1", b"2", b"3"]
        assert trailers_of(answer.body) == {
            "grpc-status": "10",
            "grpc-message": "too many",
            "last": "end",
        }


async def test_a_caller_streams(serving: Serving) -> None:
    async with serving() as client:
        answer = await ask(client, "Add", enveloped(varint(5), varint(6)))
        assert frames(answer.body)[0] == (0, varint(11))
        answer = await ask(client, "Both", enveloped(varint(5)))
        if isinstance(client, HttpClient):
            assert answer.status == 505
        else:
            assert frames(answer.body)[0] == (0, varint(10))


async def test_a_head_may_leave_before_the_answer(serving: Serving) -> None:
    async with serving() as client:
        answer = await ask(client, "Twice", enveloped(b""))
        assert answer["first"] == "head"
        assert trailers_of(answer.body)["last"] == "end"


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
async def test_a_text_is_base64_with_padding_anywhere(serving: Serving, step: int) -> None:
    body = enveloped(varint(5), varint(6))
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    async with serving() as client:
        text = b"".join(map(base64.b64encode, pieces))
        answer = await ask(client, "Add", text, Content_Type=TEXT)
        assert answer["content-type"] == TEXT
        parts = answer.body.decode().partition("==")
        found = base64.b64decode(parts[0] + parts[1]) + base64.b64decode(parts[2])
        assert frames(found)[0] == (0, varint(11))


async def test_a_text_in_parts_of_any_size_is_taken(serving: Serving) -> None:
    text = base64.b64encode(enveloped(varint(5), varint(6)))
    async with serving() as client:
        answer = await in_parts(client, "Add", [text[at : at + 1] for at in range(len(text))], TEXT)
        assert base64.b64decode(answer.body[:12])[:7] == enveloped(varint(11))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 12),
        (enveloped(varint(1), varint(1)), 12),
        (enveloped(varint(1))[:-1], 13),
        (enveloped(varint(1), flags=0x80), 13),
        (enveloped(varint(1), flags=1), 13),
        (b"\0\xff\xff\xff\xff", 8),
        (enveloped(b"\xff"), 3),
    ],
)
async def test_a_body_that_breaks_a_rule_is_refused(serving: Serving, body: bytes, status: int) -> None:
    async with serving() as client:
        answer = await ask(client, "GetItem", body)
        assert (answer.status, trailers_of(answer.body)["grpc-status"]) == (200, str(status))


async def test_a_text_that_is_no_base64_is_refused(serving: Serving) -> None:
    async with serving() as client:
        for body in (b"AAAA*AAA", b"AAAAA"):
            answer = await ask(client, "GetItem", body, Content_Type=TEXT)
            assert trailers_of(base64.b64decode(answer.body))["grpc-status"] == "13"


@pytest.mark.parametrize(
    ("timeout", "status"), [("1x", 13), ("", 13), ("123456789S", 13), ("0m", 4), ("9m", 4)]
)
async def test_the_timeout_matches_grpc(serving: Serving, timeout: str, status: int) -> None:
    async with serving() as client:
        answer = await ask(client, "Wait", enveloped(b""), grpc_timeout=timeout)
        assert trailers_of(answer.body)["grpc-status"] == str(status)


async def test_messages_are_packed_one_by_one(serving: Serving) -> None:
    async with serving() as client:
        text = b"\x12\x02aa" + b"\x12\xa0\x1f" + b"a" * 4_000
        fields = {"grpc_encoding": "gzip", "grpc_accept_encoding": "identity,gzip"}
        body = enveloped(gzip.compress(varint(1) + text), flags=1)
        answer = await ask(client, "Count", body, **fields)
        assert answer["grpc-encoding"] == "gzip"
        (flags, packed), _ = frames(answer.body)
        assert (flags, gzip.decompress(packed)[3:]) == (1, b"a" * 4_000 + b"0")
        for sent in (body, enveloped(varint(1))):
            answer = await ask(client, "Count", sent, grpc_encoding="br")
            assert (trailers_of(answer.body)["grpc-status"], answer["grpc-accept-encoding"]) == (
                "12",
                "identity,gzip",
            )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_a_text_may_end_with_a_line_end(serving: Serving, end: bytes) -> None:
    for number in range(1, 4):
        # Bodies with each number of padding signs, whole and cut anywhere near their end.
        body = base64.b64encode(enveloped(varint(7) + b"\x12" + bytes((number,)) + b"x" * number)) + end
        for at in range(len(body) - 5, len(body) + 1):
            async with serving() as client:
                answer = await in_parts(client, "GetItem", filter(None, (body[:at], body[at:])), TEXT)
                # Each part of an answer is padded by itself.
                groups = (answer.body[start : start + 4] for start in range(0, len(answer.body), 4))
                assert trailers_of(b"".join(map(base64.b64decode, groups)))["grpc-status"] == "0"


@pytest.mark.parametrize("inside", [b"\n\n", b"\r", b"\n\r", b"\nAAAA", b" "])
async def test_a_text_has_no_other_sign_than_its_digits(serving: Serving, inside: bytes) -> None:
    body = base64.b64encode(enveloped(varint(7))) + inside
    async with serving() as client:
        answer = await ask(client, "GetItem", body, Content_Type=TEXT)
        assert trailers_of(base64.b64decode(answer.body))["grpc-status"] == "13"


async def test_a_message_that_does_not_decompress_is_internal(serving: Serving) -> None:
    async with serving() as client:
        answer = await ask(client, "GetItem", enveloped(b"no gzip", flags=1), grpc_encoding="gzip")
        assert trailers_of(answer.body)["grpc-status"] == "13"


async def test_metadata_and_protocol_reach_the_handler(serving: Serving) -> None:
    async with serving() as client:
        fields: dict[str, Any] = {"X_User_Agent": "grpc-web/1", "X_Grpc_Web": "1", "X_Key": "a"}
        answer = await ask(client, "Show", enveloped(b""), **fields)
        assert all(part in answer.body for part in (b"x-key", b"grpc_web", b"x-user-agent"))
        assert b"x-grpc-web" not in answer.body
        assert trailers_of(answer.body)["raw-bin"] == "AAE"


async def test_unknown_types_and_unknown_methods_have_different_errors(serving: Serving) -> None:
    async with serving() as client:
        assert (await ask(client, "GetItem", b"", Content_Type="application/grpc-web+thrift")).status == 415
        answer = await ask(client, "Nothing", enveloped(b""))
        assert (answer.status, trailers_of(answer.body)["grpc-status"]) == (200, "12")


async def test_identity_belongs_to_each_request(serving: Serving) -> None:
    async with serving(authenticate=StaticTokens({"ada": Identity("ada")})) as client:
        for token, status in ((None, "16"), ("Bearer ada", "0"), ("Bearer bob", "16"), (None, "16")):
            answer = await ask(client, "GetItem", enveloped(varint(7)), Authorization=token)
            assert trailers_of(answer.body)["grpc-status"] == status
        # The sender of a longer body is known before the unread part of it is read.
        fields = {"Content_Length": "1000000", "Content_Type": PROTO}
        if isinstance(client, HttpClient):
            answer = await ask(client, "Add", b"", **fields)
        else:
            answer = await client.end(client.begin("POST", "/shop.v1.Orders/Add", **fields))
        assert trailers_of(answer.body)["grpc-status"] == "16"


async def test_the_end_of_a_caller_cancels_the_handler() -> None:
    orders = Orders()
    async with web_talk.serving(orders) as client:
        client.send(b"POST /shop.v1.Orders/Wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n")
        client.send(b"Content-Type: application/grpc-web\r\n\r\n" + enveloped(b""))
        await soon(orders.started)
        client.writer.close()
        await soon(orders.cancelled)
