"""WebSocket over a stream of HTTP/2 (RFC 8441): asked for by an extended CONNECT, its bytes are DATA."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from h2.settings import SettingCodes

from fastrpc import HTTPLimits, Identity
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import StaticTokens
from tests.support.every_way import ORIGIN, EveryWay, every_way
from tests.support.grpc_peer import grpc_peer
from tests.support.http2_client import Http2Client, http2_client
from tests.support.http2_socket import Http2SocketClient
from tests.support.http_talk import HttpClient
from tests.support.http_versions import VERSIONS, http_client
from tests.support.socket_client import SocketClient, bearer
from tests.support.socket_frames import CLOSE, PING, PONG, TEXT, client_frame
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

DOUBLE, ECHO = "/ws/ways/double", "/ws/ways/echo"
TOKENS = StaticTokens({"ada-token": Identity("ada")})


def socket_of(client: HttpClient | Http2Client) -> SocketClient:
    return Http2SocketClient(client) if isinstance(client, Http2Client) else SocketClient(client)


@asynccontextmanager
async def opened(client: Http2Client, path: str, **fields: Any) -> AsyncIterator[Http2SocketClient]:
    """Yield a WebSocket."""
    socket = Http2SocketClient(client)
    answer = await socket.open(path, **fields)
    assert answer.status == 200, answer
    yield socket


async def is_served(client: Http2Client) -> bool:
    return bool((await client.post("/ways/echo", {"text": "a"})).value == "a")


async def called(version: str, served: EveryWay, path: str, *messages: Any, **fields: Any) -> Any:
    """Return the messages of a WebSocket and its code, or the status that refuses it."""
    async with http_client(version, served.address) as client:
        socket = socket_of(client)
        answer = await socket.open(path, **fields)
        if answer.status not in (101, 200):
            return answer.status, answer.body
        socket.send(*messages)
        return await socket.rest()


@pytest.mark.parametrize("websocket", [True, False])
async def test_servers_that_offer_sockets_say_so(websocket: bool) -> None:
    async with every_way(http={"websocket": websocket, "mounts": {}}) as served:
        async with http2_client(served.address) as client:
            code = SettingCodes.ENABLE_CONNECT_PROTOCOL
            assert client.peer.h2.remote_settings.get(code, 0) == websocket
            if not websocket:
                answer = await client.peer.end(client.connect(ECHO))
                assert answer.reset is not None or int(answer.head[":status"]) >= 400
                assert await is_served(client)


@pytest.mark.parametrize(
    ("path", "messages", "fields"),
    [
        (ECHO, [{"arguments": {"text": "a"}}], {}),
        (ECHO, [{"arguments": {"text": "a"}}], {"protocols": "fastrpc.msgpack"}),
        (DOUBLE, [{"value": 1}, {"value": 2**60}, {"end": True}], {}),
        ("/ws/ways/count", [{"arguments": {"to": 3, "fail_at": 2}}], {}),
        (ECHO, [{"wrong": 1}], {}),
        ("/ws/ways/nothing", [{}], {}),
        ("/ws/nothing", [{}], {}),
        (ECHO, [{"arguments": {"text": "a"}}], {"Origin": ORIGIN}),
        (ECHO, [{}], {"Origin": "https://evil.example"}),
        (ECHO, [{}], {"Host": "evil.example"}),
    ],
)
async def test_a_socket_says_the_same_by_both_versions(
    path: str, messages: list[Any], fields: dict[str, Any]
) -> None:
    async with every_way() as served:
        first, second = [await called(version, served, path, *messages, **fields) for version in VERSIONS]
    assert second == first


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_token_comes_as_a_field_or_as_a_subprotocol(version: str) -> None:
    async with every_way(options={"authenticate": TOKENS}) as served:
        message = {"arguments": {"text": "a"}}
        for fields in (
            {"Authorization": "Bearer ada-token"},
            {"protocols": bearer("ada-token") + ", fastrpc.json"},
        ):
            messages, code = await called(version, served, ECHO, message, **fields)
            assert (messages[0], code) == ({"value": "a"}, 1000)
        for fields in ({}, {"Authorization": "Bearer wrong"}):
            assert (await called(version, served, ECHO, message, **fields))[0] == 401


@pytest.mark.parametrize("target", ["/ws/ways/wait", "/ways/ticks"])
async def test_a_sender_known_before_its_answer_gets_the_whole_window(target: str) -> None:
    async with every_way(options={"authenticate": TOKENS}, holds=True) as served:
        async with http2_client(served.address) as client:
            window = client.peer.h2.outbound_flow_control_window
            if target.startswith("/ws"):
                socket = Http2SocketClient(client)
                assert (await socket.open(target, Authorization="Bearer ada-token")).status == 200
                socket.send({})
            else:
                stream = await client.start("POST", target, {}, Authorization="Bearer ada-token")
                await client.head(stream)
            await eventually(lambda: client.peer.h2.outbound_flow_control_window > window + 1_000_000)


async def test_json_rpc_is_spoken_in_a_socket() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        async with opened(client, "/jsonrpc") as socket:
            for number in range(3):
                socket.send({"jsonrpc": "2.0", "id": number, "method": "ways.echo", "params": ["a"]})
                assert await socket.receive() == {"jsonrpc": "2.0", "id": number, "result": "a"}


async def test_sockets_share_a_connection_with_requests() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        sockets = [Http2SocketClient(client) for _ in range(5)]
        for socket in sockets:
            assert (await socket.open(DOUBLE)).status == 200
        for number in range(1, 4):
            for socket in sockets:
                socket.send({"value": number})
            assert await is_served(client)
            for socket in sockets:
                assert await socket.receive() == {"value": 2 * number}
        for socket in sockets:
            socket.send({"end": True})
            assert await socket.rest() == ([{"end": {"metadata": {}}}], 1000)
            await eventually(lambda socket=socket: socket.is_over)


async def test_frames_may_be_cut_anywhere_and_pings_are_answered() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        async with opened(client, ECHO) as socket:
            socket.http.send(client_frame(PING, b"hello"))
            frame = await socket.frame()
            assert (frame.opcode, frame.content) == (PONG, b"hello")
            for byte in client_frame(TEXT, b'{"arguments":{"text":"a"}}'):
                socket.http.send(bytes((byte,)))
            assert await socket.rest() == ([{"value": "a"}, {"end": {"metadata": {}}}], 1000)


async def test_the_handshake_of_closing_is_completed_before_the_stream_is_reset() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        async with opened(client, ECHO) as socket:
            socket.send({"arguments": {"text": "a"}})
            for _ in range(2):
                await socket.receive()
            frame = await socket.frame()
            assert (frame.opcode, frame.code) == (CLOSE, 1000)
            for _ in range(3):
                assert await is_served(client)
            assert client.peer.answers[socket.stream].reset is None
            client.send(socket.stream, client_frame(CLOSE, frame.content[:2]), ends=True)
            assert await is_served(client)
            assert client.peer.answers[socket.stream].reset is None


async def test_nothing_follows_a_close_frame_that_waits_for_the_window() -> None:
    async with every_way(holds=True) as served:
        async with grpc_peer(served.address, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0}) as peer:
            client = Http2Client(peer)
            async with opened(client, "/ws/ways/wait") as socket:
                socket.send({})
                await eventually(lambda: served.ways.started == 1)
                socket.http.send(client_frame(CLOSE, b"\x03\xe8"))
                await eventually(lambda: served.ways.cancelled == 1)
                peer.h2.increment_flow_control_window(1_000, socket.stream)
                peer.flush()
                await eventually(lambda: socket.is_over)
                peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1_000})
                assert await is_served(client)
                assert client.peer.answers[socket.stream].data == b"\x88\x02\x03\xe8"


async def test_an_end_of_the_stream_without_a_close_frame_ends_the_call() -> None:
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        async with opened(client, "/ws/ways/wait") as socket:
            socket.send({})
            await eventually(lambda: served.ways.started == 1)
            client.send(socket.stream, b"", ends=True)
            await eventually(lambda: served.ways.cancelled == 1)
            await eventually(lambda: socket.is_over)
        assert await is_served(client)


async def test_a_reset_ends_the_call_of_a_socket_alone() -> None:
    before = bytes_held()
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        async with opened(client, "/ws/ways/ticks") as socket, opened(client, "/ws/ways/ticks") as other:
            for one in (socket, other):
                one.send({})
                assert await one.receive() == {"value": 0}
            client.peer.reset(socket.stream)
            await eventually(lambda: served.ways.cancelled == 1)
            assert await is_served(client)
            served.ways.may_go_on.set()
            assert await other.receive() == {"value": 1}
    await eventually(lambda: bytes_held() == before)


async def test_bytes_that_are_no_frames_end_their_stream_alone() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        async with opened(client, ECHO) as socket:
            socket.http.send(b"\xff" * 20)
            frame = await socket.frame()
            assert (frame.opcode, frame.code) == (CLOSE, 1002)
            await eventually(lambda: socket.is_over)
        assert await is_served(client)


async def test_a_slow_reader_holds_the_handler_of_its_socket_alone() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        async with opened(client, "/ws/ways/ticks") as socket:
            client.peer.withheld.add(socket.stream)
            socket.send({"arguments": {"size": 1_000}})
            answer = client.peer.answers[socket.stream]
            window = client.peer.h2.local_settings.initial_window_size
            await eventually(lambda: len(answer.data) >= window)
            for _ in range(3):
                assert await is_served(client)
            (engine,) = served.server._gate.engines  # type: ignore[union-attr]
            assert engine.connection.held_bytes < 1_000_000
            client.peer.reset(socket.stream)
            await eventually(lambda: served.ways.cancelled == 1)


async def test_a_slow_handler_keeps_the_window_of_its_socket_closed() -> None:
    message = client_frame(TEXT, b'{"value":%d}' % 10**9) * 1_000
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        async with opened(client, "/ws/ways/total") as socket:
            peer, sent = client.peer, b""
            while (room := peer.h2.local_flow_control_window(socket.stream)) >= len(message):
                socket.http.send(message)
                sent += message
                assert await is_served(client)
                assert len(sent) < 20_000_000
            (engine,) = served.server._gate.engines  # type: ignore[union-attr]
            assert engine.connection.held_bytes < 4_000_000
            served.ways.may_go_on.set()
            await eventually(lambda: peer.h2.local_flow_control_window(socket.stream) > room)
            socket.send({"end": True})
            messages, code = await socket.rest()
            assert (messages[0], code) == (
                {"value": 10**9 * (len(sent) // len(client_frame(TEXT, b'{"value":%d}' % 10**9)))},
                1000,
            )


async def test_a_mounted_application_has_sockets() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        async with opened(client, "/app/socket?a=1") as socket:
            for text in ("a", "b" * 10_000):
                socket.http.send(client_frame(TEXT, text.encode()))
                assert (await socket.frame()).content == text.encode()
            (scope,) = served.application.scopes
            assert (scope["type"], scope["http_version"], scope["scheme"]) == ("websocket", "2", "ws")
            assert (scope["path"], scope["query_string"]) == ("/app/socket", b"a=1")
            client.peer.reset(socket.stream)
            await eventually(lambda: served.application.ended == ["socket"])
        assert await is_served(client)


#: Times of requests that are short, beside the times of a connection.
SHORT = {"limits": HTTPLimits(idle_seconds=0.2, body_idle_seconds=0.2)}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("path", "begin", "code"),
    [
        pytest.param(ECHO, b"", 1008, id="no arguments"),
        pytest.param(ECHO, client_frame(TEXT, b'{"argu', final=False), 1008, id="half a message"),
        pytest.param("/jsonrpc", b"", 1000, id="no message"),
    ],
)
async def test_a_silent_socket_is_closed_in_the_times_of_requests(
    version: str, path: str, begin: bytes, code: int
) -> None:
    async with every_way(http=SHORT) as served, http_client(version, served.address) as client:
        socket = socket_of(client)
        await socket.open(path)
        socket.http.send(begin)
        assert await socket.rest() == ([], code)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_that_is_silent_during_a_call_is_sent_a_ping(version: str) -> None:
    async with every_way(http=SHORT, holds=True) as served, http_client(version, served.address) as client:
        socket = socket_of(client)
        await socket.open("/ws/ways/wait")
        socket.send({})
        assert (await socket.frame()).opcode == PING
        await eventually(lambda: served.ways.cancelled == 1)


async def test_a_drain_ends_sockets_with_a_close_frame() -> None:
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        async with opened(client, "/jsonrpc") as socket:
            socket.send({"jsonrpc": "2.0", "id": 1, "method": "ways.echo", "params": ["a"]})
            await socket.receive()
            drain = asyncio.ensure_future(served.server.drain(20))
            _, code = await socket.rest()
            assert code in (1001, 1012)
            assert await drain


@pytest.mark.parametrize(
    ("protocol", "path", "fields", "status"),
    [
        ("websocket", "/ways/echo", {}, 405),
        ("other", ECHO, {}, 501),
        ("other", "/app/socket", {}, 501),
        ("websocket", ECHO, {"Sec_WebSocket_Version": "8"}, 400),
    ],
)
async def test_a_connect_that_opens_no_websocket_is_refused(
    protocol: str, path: str, fields: dict[str, Any], status: int
) -> None:
    async with every_way() as served, http2_client(served.address) as client:
        given = {"Sec_WebSocket_Version": "13"} | fields
        answer = await client.end(client.connect(path, protocol, **given))
        assert answer.status == status
        assert await is_served(client)


async def test_a_plain_connect_is_refused() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        stream = client.peer.begin([(":method", "CONNECT"), (":authority", "example.com:443")])
        answer = await client.peer.end(stream)
        assert answer.reset is not None or int(answer.head[":status"]) >= 400
        assert await is_served(client)
