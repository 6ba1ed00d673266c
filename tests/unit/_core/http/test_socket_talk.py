"""A call by WebSocket: its messages, its end, and forbidden frames."""

from typing import Any

import pytest

from fastrpc import HTTP, HTTPLimits, Limits
from tests.support.gateway_talk import connected
from tests.support.http_shop import Shop
from tests.support.http_talk import soon
from tests.support.socket_client import SocketClient, called, handshake, opened_socket
from tests.support.socket_frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, client_frame, closing

SOCKETS = HTTP(websocket=True)
CODECS = pytest.mark.parametrize("protocols", ["fastrpc.json", "fastrpc.msgpack"])


def ended(*values: Any, **metadata: str) -> tuple[list[Any], int]:
    return [*({"value": value} for value in values), {"end": {"metadata": metadata}}], 1000


@CODECS
@pytest.mark.parametrize(
    ("method", "envelopes", "values"),
    [
        ("echo", [{"arguments": {"text": "ä"}}], ["ä"]),
        ("later", [{"arguments": {"text": "a"}}], ["a"]),
        ("threaded", [{"arguments": {"text": "a"}}], ["aa"]),
        ("inline", [{}], [None]),
        ("count", [{"arguments": {"to": 2}}], [0, 1]),
        ("count_in_thread", [{"arguments": {"to": 2}}, {"end": True}], [0, 1]),
        ("total", [{"arguments": {"start": 5}}, {"value": 1}, {"value": 2}, {"end": True}], [8]),
        ("total", [{"value": 1}, {"end": True}], [1]),
        ("total", [{"end": True}], [0]),
        ("double", [{}, {"value": 1}, {"value": 2}, {"end": True}], [2, 4]),
    ],
)
async def test_every_shape_of_method_is_called(
    protocols: str, method: str, envelopes: list[Any], values: list[Any]
) -> None:
    async with connected(http=SOCKETS) as talk:
        assert await called(talk, method, *envelopes, protocols=protocols) == ended(*values)


@CODECS
async def test_both_sides_speak_at_once(protocols: str) -> None:
    async with connected(http=SOCKETS) as talk:
        async with opened_socket(talk, "/ws/shop.v1/double", protocols=protocols) as socket:
            for value in range(3):
                socket.send({"value": value})
                assert await socket.receive() == {"value": 2 * value}
            socket.send({"end": True})
            assert await socket.rest() == ended()


@CODECS
async def test_metadata_and_the_time_come_in_the_first_envelope(protocols: str) -> None:
    async with connected(http=SOCKETS) as talk:
        messages, _ = await called(
            talk,
            "metadata",
            {"metadata": {"user": "Ada", "key-bin": "AAE="}},
            protocols=protocols,
            Meta_Of="head",
        )
        assert messages == [
            {"value": {"user": "Ada", "key-bin": "0001", "of": "head"}},
            {"end": {"metadata": {"answer": "ä b%c", "raw-bin": "AP8="}}},
        ]
    async with connected(http=SOCKETS) as talk:
        messages, _ = await called(talk, "remaining", {"timeout_ms": 1e6}, Timeout_Ms="2000000")
        assert 0 < messages[0]["value"] <= 1_000
    async with connected(http=SOCKETS) as talk:
        messages, _ = await called(talk, "wait", {"timeout_ms": 1})
        assert messages[0]["error"]["code"] == "DEADLINE_EXCEEDED"


@CODECS
async def test_an_error_is_the_last_message(protocols: str) -> None:
    async with connected(http=SOCKETS) as talk:
        messages, code = await called(
            talk, "count", {"arguments": {"to": 3, "fail_at": 1}}, protocols=protocols
        )
        assert (messages[0], code) == ({"value": 0}, 1000)
        assert messages[1]["error"] | {"detail": "enough", "code": "ABORTED"} == messages[1]["error"]
    async with connected(http=SOCKETS) as talk:
        messages, code = await called(
            talk, "fail", {"arguments": {"status": "NOT_FOUND"}}, protocols=protocols
        )
        assert (messages[0]["error"]["status"], messages[0]["error"]["details"]) == (404, {"why": [1, "b"]})


@pytest.mark.parametrize("late", [{"arguments": {}}, {"value": "text"}, {"other": 1}])
async def test_a_mistake_after_the_opening_ends_the_stream(late: Any) -> None:
    async with connected(http=SOCKETS) as talk:
        messages, code = await called(talk, "double", {"value": 1}, late)
        assert (messages[0], code) == ({"value": 2}, 1000)
        assert messages[1]["error"]["code"] == "INVALID_ARGUMENT"


async def test_a_value_for_a_method_without_a_stream_ends_the_call() -> None:
    shop = Shop()
    async with connected(http=SOCKETS, shop=shop) as talk:
        async with opened_socket(talk, "/ws/shop.v1/wait") as socket:
            socket.send({})
            # A call that ends before its handler began cancels nothing.
            await soon(shop.started)
            socket.send({"value": 1})
            messages, _ = await socket.rest()
            assert "takes no stream of messages" in messages[0]["error"]["detail"]
            await soon(shop.cancelled)


@CODECS
@pytest.mark.parametrize("method", ["inline", "wait"])
async def test_a_value_as_the_first_envelope_of_such_a_method_starts_no_handler(
    protocols: str, method: str
) -> None:
    shop = Shop()
    async with connected(http=SOCKETS, shop=shop) as talk:
        messages, code = await called(talk, method, {"value": 1}, protocols=protocols)
        assert "takes no stream of messages" in messages[0]["error"]["detail"]
        assert (messages[0]["error"]["code"], code) == ("INVALID_ARGUMENT", 1000)
        assert not shop.started.is_set()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (client_frame(TEXT, b"{}", is_masked=False), 1002),
        (client_frame(TEXT, b"{}", reserved=4), 1002),
        (client_frame(BINARY, b"{}"), 1003),
        (client_frame(TEXT, b"\xff"), 1007),
        (client_frame(TEXT, length=8_193), 1009),
        (client_frame(TEXT, width=8, length=1 << 62), 1009),
    ],
    ids=["not masked", "reserved bit", "bytes", "no text", "too long", "far too long"],
)
async def test_a_frame_that_is_wrong_closes_with_its_code(frames: bytes, code: int) -> None:
    limits = Limits(message_bytes=8_192)
    async with (
        connected(http=SOCKETS, limits=limits) as talk,
        opened_socket(talk, "/ws/shop.v1/echo") as socket,
    ):
        talk.send(frames)
        assert await socket.rest() == ([], code)


@pytest.mark.parametrize(
    "answer", [closing(1000), closing(3000, b"bye"), b"\x88\x80mask"], ids=["1000", "3000", "none"]
)
async def test_a_close_cancels_the_call_and_is_answered(answer: bytes) -> None:
    shop = Shop()
    async with connected(http=SOCKETS, shop=shop) as talk:
        async with opened_socket(talk, "/ws/shop.v1/wait") as socket:
            socket.send({})
            await soon(shop.started)
            talk.send(answer)
            frame = await socket.frame()
            assert frame.opcode == CLOSE
            assert len(frame.content) == (0 if answer == b"\x88\x80mask" else 2)
            await soon(shop.cancelled)


async def test_a_lost_connection_cancels_the_call() -> None:
    shop = Shop()
    async with connected(http=SOCKETS, shop=shop) as talk:
        async with opened_socket(talk, "/ws/shop.v1/wait") as socket:
            socket.send({})
            await soon(shop.started)
            talk.lose()
            await soon(shop.cancelled)


async def test_pings_are_answered_also_within_a_message() -> None:
    async with connected(http=SOCKETS) as talk, opened_socket(talk, "/ws/shop.v1/echo") as socket:
        talk.send(client_frame(TEXT, b'{"arguments":', final=False) + client_frame(PING, b"p"))
        assert await socket.frame() == Frame(PONG, b"p")
        talk.send(client_frame(PONG) + client_frame(0, b'{"text":"a"}}'))
        assert await socket.rest() == ended("a")


async def test_frames_may_come_with_the_handshake_or_cut_anywhere() -> None:
    frames = client_frame(TEXT, b'{"value":1}') + client_frame(TEXT, b'{"end":true}')
    async with connected(http=SOCKETS) as talk:
        talk.send(handshake("/ws/shop.v1/total") + frames)
        assert (await talk.head()).status == 101
        assert await SocketClient(talk).rest() == ended(1)
    async with connected(http=SOCKETS) as talk, opened_socket(talk, "/ws/shop.v1/total") as socket:
        for at in range(len(frames)):
            await talk.sent(frames[at : at + 1])
        assert await socket.rest() == ended(1)


async def test_kept_parts_of_a_message_are_counted() -> None:
    async with connected(http=SOCKETS) as talk, opened_socket(talk, "/ws/shop.v1/echo"):
        before = talk.engine.connection.held_bytes
        await talk.sent(client_frame(TEXT, b'"' * 10_000, final=False))
        assert talk.engine.connection.held_bytes == before + 10_000
        talk.lose()
        assert talk.engine.connection.held_bytes == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", b"the arguments did not come in time"), (b'{"argu', b"the message did not come in time")],
)
async def test_a_peer_that_stalls_is_closed(content: bytes, reason: bytes) -> None:
    http = HTTP(websocket=True, limits=HTTPLimits(body_idle_seconds=0.05))
    async with connected(http=http) as talk:
        talk.send(
            handshake("/ws/shop.v1/echo") + (client_frame(TEXT, content, final=False) if content else b"")
        )
        await talk.head()
        frame = await SocketClient(talk).frame()
        assert (frame.code, frame.content[2:]) == (1008, reason)


async def test_a_silent_peer_is_asked_again_and_again() -> None:
    http = HTTP(websocket=True, limits=HTTPLimits(idle_seconds=0.01, body_idle_seconds=60))
    async with connected(http=http) as talk:
        # In one piece: a socket whose call has not begun has the same time.
        talk.send(handshake("/ws/shop.v1/wait") + client_frame(TEXT, b"{}"))
        await talk.head()
        socket = SocketClient(talk)
        for _ in range(3):
            assert await socket.frame() == Frame(PING, b"")
            talk.send(client_frame(PONG))


async def test_a_peer_that_does_not_answer_is_gone() -> None:
    http = HTTP(websocket=True, limits=HTTPLimits(idle_seconds=0.01, body_idle_seconds=0.05))
    shop = Shop()
    async with connected(http=http, shop=shop) as talk:
        talk.send(handshake("/ws/shop.v1/wait") + client_frame(TEXT, b"{}"))
        await talk.head()
        socket = SocketClient(talk)
        assert await socket.frame() == Frame(PING, b"")
        with pytest.raises(EOFError):
            await socket.frame()
        talk.lose()
        await soon(shop.cancelled)
