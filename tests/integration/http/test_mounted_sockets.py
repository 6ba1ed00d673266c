"""WebSockets of mounted applications: each event and field of ASGI 3.0."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from fastrpc import Identity, Limits
from fastrpc.auth import StaticTokens
from fastrpc_harness.checking import check
from tests.support.mounted import mounted
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

SECOND = 1_000_000_000
TOKENS = StaticTokens({"ada-token": Identity("ada")})


def url_of(client: Any, path: str = "/ws") -> str:
    return f"ws://127.0.0.1:{client.address.port}{path}"


class Talking:
    """An application that sends events, one after each received event, and keeps the received events."""

    def __init__(self, *events: Any) -> None:
        self._events = list(events)
        self.scope: Any = None
        self.received: list[Any] = []
        self.error: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", scope["type"]
        self.scope = scope
        try:
            for event in self._events:
                self.received.append(await receive())
                for one in event if isinstance(event, list) else [event]:
                    await send(one)
            self.received.append(await receive())
        except BaseException as error:
            self.error = error
            raise


ACCEPT = {"type": "websocket.accept"}


async def test_scope_and_events_of_a_conversation() -> None:
    fields = [(b"x-own", b"1"), (b"upgrade", b"evil")]
    app = Talking(
        {"type": "websocket.accept", "subprotocol": "b", "headers": fields},
        {"type": "websocket.send", "text": "é"},
        {"type": "websocket.send", "bytes": b"\0\1"},
    )
    async with mounted({"/shop": app}) as client:
        async with connect(
            url_of(client, "/shop/a%20b?q=1"),
            subprotocols=[Subprotocol("a"), Subprotocol("b")],
            ping_interval=None,
        ) as talk:
            assert (talk.subprotocol, talk.response.headers["x-own"]) == ("b", "1")
            await talk.send("text")
            assert await talk.recv() == "é"
            await talk.send(b"bytes")
            assert await talk.recv() == b"\0\1"
        await eventually(lambda: len(app.received) == 4)
    assert app.received == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "text"},
        {"type": "websocket.receive", "bytes": b"bytes"},
        {"type": "websocket.disconnect", "code": 1000, "reason": ""},
    ]
    assert {
        name: app.scope[name] for name in ("scheme", "path", "raw_path", "query_string", "root_path")
    } == {
        "scheme": "ws",
        "path": "/shop/a b",
        "raw_path": b"/shop/a%20b",
        "query_string": b"q=1",
        "root_path": "/shop",
    }
    assert app.scope["subprotocols"] == ["a", "b"]
    assert app.scope["extensions"].keys() == {"fastrpc", "websocket.http.response"}
    assert "method" not in app.scope


async def test_handshake_is_refused_by_403_or_by_a_response() -> None:
    denial = [
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-own", b"1")]},
        {"type": "websocket.http.response.body", "body": b"no"},
    ]
    async with mounted(
        {"/closed": Talking({"type": "websocket.close"}), "/denied": Talking(denial)}
    ) as client:
        for path, status, body in (("/closed", 403, b""), ("/denied", 401, b"no")):
            with pytest.raises(InvalidStatus) as caught:
                await connect(url_of(client, path))
            assert (caught.value.response.status_code, caught.value.response.body) == (status, body)
        assert (await client.get("/stock/count")).value == 0


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "websocket.close"}, 1000),
        ({"type": "websocket.close", "code": 4321, "reason": "why"}, 4321),
        *(
            ({"type": "websocket.close", "code": code}, 1011)
            for code in (77, 1004, 1005, 1006, 1015, 1016, 2999, 5000)
        ),
        *(({"type": "websocket.close", "code": code}, code) for code in (1003, 1007, 1014, 3000, 4999)),
        ({"type": "websocket.send"}, 1011),
        ({"type": "websocket.send", "text": "a", "bytes": b"b"}, 1011),
        ({"type": "websocket.accept"}, 1011),
        ({"type": "http.response.start", "status": 200}, 1011),
    ],
)
async def test_end_has_the_code_of_the_application_or_of_its_error(event: Any, code: int) -> None:
    app = Talking([ACCEPT, event])
    async with mounted(app) as client:
        async with connect(url_of(client)) as talk:
            with pytest.raises(ConnectionClosed) as caught:
                await talk.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, event.get("reason", ""))


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.accept", "subprotocol": "not offered"},
        {"type": "websocket.accept", "headers": [(b"x", b"a\r\nb")]},
        {"type": "websocket.send", "text": "early"},
    ],
)
async def test_misuse_before_the_handshake_is_500(event: Any) -> None:
    async with mounted(Talking(event)) as client:
        with pytest.raises(InvalidStatus) as caught:
            await connect(url_of(client))
        assert caught.value.response.status_code == 500


async def test_client_that_is_lost_is_reported_as_1006() -> None:
    app = Talking(ACCEPT)
    async with mounted(app) as client:
        talk = await connect(url_of(client))
        talk.transport.abort()
        await eventually(lambda: len(app.received) == 2)
    assert app.received[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


async def test_message_over_the_limit_closes_with_1009() -> None:
    app = Talking(ACCEPT)
    async with mounted(app, config={"limits": Limits(message_bytes=10_000)}) as client:
        async with connect(url_of(client)) as talk:
            await talk.send("x" * 10_001)
            with pytest.raises(ConnectionClosed) as caught:
                await talk.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009
        await eventually(lambda: len(app.received) == 2)
    assert app.received[1]["code"] == 1009


async def test_messages_that_are_not_taken_hold_the_client() -> None:
    goes_on, taken = asyncio.Event(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", scope["type"]
        await receive()
        await send(ACCEPT)
        await goes_on.wait()
        while (event := await receive())["type"] == "websocket.receive":
            taken.append(len(event["bytes"]))

    async with mounted(app) as client:
        async with connect(url_of(client)) as talk:
            sending = asyncio.gather(*(talk.send(bytes(50_000)) for _ in range(400)))
            found = client.server._gate.engines  # type: ignore[attr-defined]
            await eventually(lambda: any(engine.connection.held_bytes > 65_536 for engine in found))
            for _ in range(100):
                await asyncio.sleep(0)
            assert max(engine.connection.held_bytes for engine in found) < 1 << 20
            goes_on.set()
            await sending
        await eventually(lambda: len(taken) == 400)


async def test_drain_closes_with_1012() -> None:
    app = Talking(ACCEPT)
    async with mounted(app) as client:
        async with connect(url_of(client)) as talk:
            await eventually(lambda: app.received)
            assert not await client.server.drain(timeout=0.05)  # type: ignore[attr-defined]
            with pytest.raises(ConnectionClosed) as caught:
                await talk.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == app.received[1]["code"] == 1012


@pytest.mark.parametrize("is_needed", [True, False])
async def test_end_of_a_certificate_ends_a_talk_only_where_an_identity_is_needed(is_needed: bool) -> None:
    app = Talking(ACCEPT)
    async with mounted(app, http={"mount_authenticated": is_needed}, authenticate=TOKENS) as client:
        gate = client.server._gate  # type: ignore[attr-defined]
        await client.get("/stock/count")
        (engine,) = gate.engines
        gate.guards.access.replace(engine.connection, Identity("ada"), 1_000.0)
        talk = SocketClient(client)
        assert (await talk.open("/ws")).status == 101
        await eventually(lambda: app.received)
        check(engine, time.monotonic_ns() + 1_001 * SECOND)
        await eventually(lambda: engine.is_closed or not is_needed)
        assert engine.is_closed is is_needed


@pytest.mark.parametrize("is_needed", [True, False])
async def test_identity_is_asked_for_before_the_handshake(is_needed: bool) -> None:
    app = Talking(ACCEPT)
    async with mounted(app, http={"mount_authenticated": is_needed}, authenticate=TOKENS) as client:
        if is_needed:
            with pytest.raises(InvalidStatus) as caught:
                await connect(url_of(client))
            assert (caught.value.response.status_code, app.scope) == (401, None)
        async with connect(url_of(client), additional_headers={"Authorization": "Bearer ada-token"}):
            await eventually(lambda: app.scope)
        identity = app.scope["extensions"]["fastrpc"]["identity"]
        assert (identity is None) == (not is_needed)


@pytest.mark.parametrize("is_needed", [True, False])
async def test_removed_token_ends_a_talk_only_where_an_identity_is_needed(
    is_needed: bool, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text('[[token]]\ntoken = "ada-token"\nname = "ada"\n')
    app = Talking(ACCEPT, {"type": "websocket.send", "text": "still here"})
    tokens = StaticTokens.from_file(file)
    async with mounted(app, http={"mount_authenticated": is_needed}, authenticate=tokens) as client:
        async with connect(url_of(client), additional_headers={"Authorization": "Bearer ada-token"}) as talk:
            file.write_text('[[token]]\ntoken = "other"\nname = "bob"\n')
            client.server.reload()  # type: ignore[attr-defined]
            if is_needed:
                with pytest.raises(ConnectionClosed) as caught:
                    await talk.recv()
                assert caught.value.rcvd is not None
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
                    1008,
                    "the credential has expired",
                )
            else:
                await talk.send("anything")
                assert await talk.recv() == "still here"


async def test_echo_of_starlette_and_of_fastapi() -> None:
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(f"echo {text}")

    app = FastAPI()
    left: list[int] = []

    @app.websocket("/rooms/{number}")
    async def items(socket: WebSocket, number: int, q: str = "") -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_json([number, q, await socket.receive_json()])
        except WebSocketDisconnect as error:
            left.append(error.code)

    apps = {"/starlette": Starlette(routes=[WebSocketRoute("/echo", echo)]), "/": app}
    async with mounted(apps) as client:
        async with connect(url_of(client, "/starlette/echo")) as talk:
            for number in range(3):
                await talk.send(str(number))
                assert await talk.recv() == f"echo {number}"
        async with connect(url_of(client, "/rooms/7?q=a")) as talk:
            await talk.send('{"a": 1}')
            assert await talk.recv() == '[7,"a",{"a":1}]'
            await talk.close(4000)
        await eventually(lambda: left == [4000])
        with pytest.raises(InvalidStatus) as caught:
            await connect(url_of(client, "/none"))
        assert caught.value.response.status_code == 403
