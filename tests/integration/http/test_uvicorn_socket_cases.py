"""The cases of uvicorn's own tests for WebSocket and lifespan, rewritten for mounted applications, by name.

They are in tests/protocols/test_websocket.py and tests/test_lifespan.py. `OURS` lists the cases that other tests of
this folder cover. `LEFT_OUT` lists the cases without a meaning here, with the reason.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fastrpc import Limits
from tests.integration.http.test_mounted_sockets import ACCEPT, Talking, url_of
from tests.integration.http.test_uvicorn_http_cases import names_in
from tests.support.http_talk import HttpClient, soon
from tests.support.mounted import mounted
from tests.support.socket_client import SocketClient, handshake
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

_SOCKETS, _MOUNTS = "test_mounted_sockets", "test_mounts"

OURS = {
    "extra_headers": (_SOCKETS, "scope_and_events_of_a_conversation"),
    "path_and_raw_path": (_SOCKETS, "scope_and_events_of_a_conversation"),
    "subprotocols": (_SOCKETS, "scope_and_events_of_a_conversation"),
    "send_text_data_to_client": (_SOCKETS, "scope_and_events_of_a_conversation"),
    "send_binary_data_to_client": (_SOCKETS, "scope_and_events_of_a_conversation"),
    "send_text_data_to_server": (_SOCKETS, "scope_and_events_of_a_conversation"),
    "send_binary_data_to_server": (_SOCKETS, "scope_and_events_of_a_conversation"),
    "client_connection_lost": (_SOCKETS, "client_that_is_lost_is_reported_as_1006"),
    "shutdown": (_SOCKETS, "drain_closes_with_1012"),
    "send_close_on_server_shutdown": (_SOCKETS, "drain_closes_with_1012"),
    "lifespan_on": (_MOUNTS, "application_starts_before_the_server_listens_and_ends_after_it"),
    "lifespan_auto": (_MOUNTS, "application_starts_before_the_server_listens_and_ends_after_it"),
    "lifespan_scope_asgi3app": (_MOUNTS, "application_starts_before_the_server_listens_and_ends_after_it"),
    "lifespan_auto_with_error": (_MOUNTS, "application_without_a_lifespan_is_served"),
    "lifespan_with_failed_startup": (_MOUNTS, "server_does_not_start_where_an_application_fails"),
    "lifespan_with_failed_shutdown": (_MOUNTS, "failed_shutdown_is_logged"),
    "lifespan_scope_asgi2app": (_MOUNTS, "application_of_another_kind_is_refused_with_the_way_out"),
}

LEFT_OUT = {
    "supports_permessage_deflate_extension": "no extension is negotiated",
    "can_disable_permessage_deflate_extension": "no extension is negotiated",
    "default_server_headers": "the server does not name itself",
    "no_server_headers": "the server does not name itself",
    "no_date_header_on_wsproto": "the server states no date",
    "multiple_server_header": "the server does not name itself",
    "lifespan_off": "an application that refuses the scope has no lifespan",
    "lifespan_on_with_error": "an application that refuses the scope has no lifespan",
}


@contextlib.asynccontextmanager
async def talking(app: Any) -> AsyncIterator[ClientConnection]:
    async with mounted(app) as client, connect(url_of(client)) as talk:
        yield talk


async def end_of(talk: ClientConnection) -> tuple[int, str]:
    """Return code and reason by which the server closes."""
    with pytest.raises(ConnectionClosed) as caught:
        await talk.recv()
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


# The handshake


async def test_invalid_upgrade() -> None:
    app = Talking(ACCEPT)
    async with mounted(app) as client:
        answer = await client.get(
            "/ws", Upgrade="websocket", Connection="upgrade", Sec_WebSocket_Version="11"
        )
        assert (answer.status, app.scope) == (426, None)


async def test_accept_connection() -> None:
    async with talking(Talking(ACCEPT)) as talk:
        assert talk.response.status_code == 101


async def test_headers() -> None:
    app = Talking(ACCEPT)
    async with mounted(app) as client:
        name = "abraão".encode()
        assert (await SocketClient(client).open("/ws", Username=name.decode("latin-1"))).status == 101
        assert dict(app.scope["headers"])[b"username"] == name


def denial(status: int, *bodies: bytes, headers: Any = ()) -> list[Any]:
    kind = "websocket.http.response"
    parts = [
        {"type": f"{kind}.body", "body": body, "more_body": number < len(bodies)}
        for number, body in enumerate(bodies, 1)
    ]
    return [{"type": f"{kind}.start", "status": status, "headers": headers}, *parts]


LENGTH = [(b"Content-Length", b"20"), (b"Content-Type", b"text/plain")]
DENIED: dict[str, tuple[list[Any], int, bytes | None]] = {
    "close_connection": ([{"type": "websocket.close"}], 403, b""),
    "server_reject_connection": ([{"type": "websocket.close"}], 403, b""),
    "server_reject_connection_with_response": (denial(400, b"goodbye"), 400, b"goodbye"),
    "server_reject_connection_with_multibody_response": (
        denial(400, b"x" * 10, b"y" * 10, headers=LENGTH),
        400,
        b"x" * 10 + b"y" * 10,
    ),
    "server_reject_connection_with_body_nolength": (denial(403, b"hardbody"), 403, b"hardbody"),
}
BROKEN: dict[str, list[Any]] = {
    "missing_handshake": [],
    "send_before_handshake": [{"type": "websocket.send", "text": "123"}],
    "server_reject_connection_with_invalid_status": denial(700),
    "server_reject_connection_with_invalid_msg": denial(404) * 2,
    "server_reject_connection_with_missing_body": denial(404),
    "server_multiple_websocket_http_response_start_events": denial(404) * 2,
}


@pytest.mark.parametrize("name", DENIED)
async def test_a_handshake_is_denied_as_the_application_says(name: str) -> None:
    events, status, body = DENIED[name]
    app = Talking(events)
    async with mounted(app) as client:
        with pytest.raises(InvalidStatus) as caught:
            await connect(url_of(client))
        assert (caught.value.response.status_code, caught.value.response.body) == (status, body)
        await eventually(lambda: len(app.received) == 2)
    assert app.received[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


@pytest.mark.parametrize("name", BROKEN)
async def test_case_of_an_application_that_breaks_the_handshake(name: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", scope["type"]
        await receive()
        for event in BROKEN[name]:
            await send(event)

    async with mounted(app) as client:
        with pytest.raises(InvalidStatus) as caught:
            await connect(url_of(client))
        assert caught.value.response.status_code == 500


async def test_connection_lost_before_handshake_complete() -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", scope["type"]
        await receive()
        began.set()
        await goes_on.wait()
        received.append(await receive())

    async with mounted(app) as client:
        async with await HttpClient.to(client.address) as other:  # type: ignore[attr-defined]
            other.send(handshake("/ws"))
            await soon(began)
            other.writer.transport.abort()
        goes_on.set()
        await eventually(lambda: received)
    assert received == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


# Messages and the end


async def test_send_and_close_connection() -> None:
    events = [ACCEPT, {"type": "websocket.send", "text": "123"}, {"type": "websocket.close"}]
    async with talking(Talking(events)) as talk:
        assert await talk.recv() == "123"
        assert await end_of(talk) == (1000, "")


async def test_send_after_protocol_close() -> None:
    text = {"type": "websocket.send", "text": "123"}
    app = Talking([ACCEPT, text, {"type": "websocket.close"}, text])
    async with talking(app) as talk:
        assert await talk.recv() == "123"
        assert await end_of(talk) == (1000, "")
        await eventually(lambda: app.error)
    assert isinstance(app.error, Exception)


async def test_duplicate_handshake() -> None:
    async with talking(Talking([ACCEPT, ACCEPT])) as talk:
        assert await end_of(talk) == (1011, "")


async def test_asgi_return_value() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> int:
        assert scope["type"] == "websocket", scope["type"]
        await send(ACCEPT)
        return 123

    async with talking(app) as talk:
        assert await end_of(talk) == (1000, "")


@pytest.mark.parametrize("code", [None, 1000, 1001])
@pytest.mark.parametrize("reason", [{}, {"reason": None}, {"reason": "test"}])
async def test_app_close(code: int | None, reason: dict[str, str | None]) -> None:
    close = {"type": "websocket.close", **reason} | ({} if code is None else {"code": code})
    app = Talking(ACCEPT, close)
    async with talking(app) as talk:
        await (await talk.ping())
        await talk.send("abc")
        assert await end_of(talk) == (code or 1000, reason.get("reason") or "")


async def test_client_close() -> None:
    app = Talking(ACCEPT)
    async with talking(app) as talk:
        await (await talk.ping())
        await talk.close(1001, "custom reason")
        await eventually(lambda: len(app.received) == 2)
    assert app.received[1] == {"type": "websocket.disconnect", "code": 1001, "reason": "custom reason"}


async def test_client_connection_lost_on_send() -> None:
    goes_on = asyncio.Event()
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", scope["type"]
        await receive()
        await send(ACCEPT)
        await goes_on.wait()
        try:
            while True:
                await send({"type": "websocket.send", "text": "123"})
        except OSError as error:
            errors.append(error)

    async with mounted(app) as client:
        async with connect(url_of(client)):
            pass
        goes_on.set()
        await eventually(lambda: errors)


@pytest.mark.parametrize(
    ("size", "most"), [(1 << 20, 1 << 20), ((1 << 20) + 1, 1 << 20), (4096, 4096), (4097, 4096)]
)
async def test_send_binary_data_to_server_bigger_than_default_on_websockets(size: int, most: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", scope["type"]
        await receive()
        await send(ACCEPT)
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": event["bytes"]})

    limits = Limits(message_bytes=most)
    async with mounted(app, config={"limits": limits}) as client, connect(url_of(client)) as talk:
        await talk.send(b"\1" * size)
        if size <= most:
            assert await talk.recv() == b"\1" * size
        else:
            assert (await end_of(talk))[0] == 1009


async def test_server_can_read_messages_in_buffer_after_close() -> None:
    goes_on = asyncio.Event()
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket", scope["type"]
        await receive()
        await send(ACCEPT)
        await goes_on.wait()
        while not received or received[-1]["type"] == "websocket.receive":
            received.append(await receive())

    async with talking(app) as talk:
        for _ in range(3):
            await talk.send(b"abc")
        closing = asyncio.ensure_future(talk.close())
        await asyncio.sleep(0)
        goes_on.set()
        await closing
        await eventually(lambda: len(received) == 4)
    assert [event.get("bytes") for event in received] == [b"abc", b"abc", b"abc", None]
    assert received[3] == {"type": "websocket.disconnect", "code": 1000, "reason": ""}


async def test_lifespan_state() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"].update(a=123, b=[1])
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        seen.append({"a": scope["state"]["a"], "b": list(scope["state"]["b"])})
        scope["state"]["a"] = 456
        scope["state"]["b"].append(2)
        await Talking(ACCEPT)(scope, receive, send)

    async with mounted(app) as client:
        for _ in range(2):
            async with connect(url_of(client)):
                pass
    assert seen == [{"a": 123, "b": [1]}, {"a": 123, "b": [1, 2]}]


def test_every_case_is_here_or_named() -> None:
    here = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    names = (here | {*DENIED, *BROKEN, *OURS, *LEFT_OUT}) - {
        "a_handshake_is_denied_as_the_application_says",
        "case_of_an_application_that_breaks_the_handshake",
        "every_case_is_here_or_named",
    }
    # 41 for WebSocket and 10 for lifespan; one name is in both.
    assert len(names) == 50
    for module, name in OURS.values():
        assert f"test_{name}" in names_in(module), name
