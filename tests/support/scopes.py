"""A server of ASGI for tests: it hands an application scopes and events, and keeps the events of the application."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import fastrpc
from fastrpc import HTTP, ServerConfig
from tests.support.http_shop import Shop
from tests.support.http_talk import WAIT_SECONDS
from tests.support.waiting import eventually

__all__ = ["Exchange", "exchange", "http", "http_scope", "posted", "serving", "socket_scope"]

#: Fields as a client on this machine sends them.
FIELDS = {"host": "127.0.0.1:8000", "content-type": "application/json"}


def http_scope(path: str, *, method: str = "POST", fields: Any = None, **more: Any) -> dict[str, Any]:
    """Return the scope of a request."""
    given = {**FIELDS, **(fields or {})} if not isinstance(fields, list) else {}
    headers = [(name.encode(), value.encode()) for name, value in given.items()] or fields
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 51_814),
        "server": ("127.0.0.1", 8000),
    } | more


def socket_scope(path: str, *, subprotocols: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Return the scope of a WebSocket."""
    scope = http_scope(path, **more)
    del scope["method"]
    return scope | {"type": "websocket", "scheme": "ws", "subprotocols": list(subprotocols)}


class Exchange:
    """One scope that an application serves."""

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        #: Cleared, it holds `send`.
        self.takes_output = asyncio.Event()
        self.takes_output.set()
        #: Raised by `send`.
        self.failure: Exception | None = None
        self.task = asyncio.create_task(app(scope, self.events.get, self._send))

    async def _send(self, event: dict[str, Any]) -> None:
        await self.takes_output.wait()
        if self.failure is not None:
            raise self.failure
        self.sent.append(event)

    def give(self, **event: Any) -> None:
        """Give the application an event."""
        self.events.put_nowait(event)

    def body(self, content: bytes, *, more: bool = False) -> None:
        """Give it a part of a body."""
        self.give(type="http.request", body=content, more_body=more)

    async def done(self) -> None:
        """Return once the application returned."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.task

    async def has(self, count: int) -> list[dict[str, Any]]:
        """Return the sent events once there are so many."""
        await eventually(lambda: len(self.sent) >= count or self.task.done())
        assert len(self.sent) >= count, self.sent
        return self.sent

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def content(self) -> bytes:
        return b"".join(event["body"] for event in self.sent[1:])

    @property
    def value(self) -> Any:
        return json.loads(self.content)

    def field(self, name: str) -> str | None:
        found = [value.decode() for known, value in self.sent[0]["headers"] if known == name.encode()]
        assert len(found) <= 1
        return found[0] if found else None


@asynccontextmanager
async def exchange(app: Any, scope: dict[str, Any]) -> AsyncIterator[Exchange]:
    """Yield an exchange that may continue; at the end its client is gone."""
    talk = Exchange(app, scope)
    yield talk
    gone = "websocket.disconnect" if scope["type"] == "websocket" else "http.disconnect"
    talk.give(type=gone, code=1006)
    await talk.done()


async def posted(app: Any, path: str, value: Any = None, **more: Any) -> Exchange:
    """Return the exchange of a request once it is answered."""
    content = b"" if value is None else json.dumps(value).encode()
    talk = Exchange(app, http_scope(path, **more))
    talk.body(content)
    await talk.done()
    return talk


def http(**options: Any) -> ServerConfig:
    """Return settings with these of HTTP."""
    return ServerConfig(http=HTTP(**options))


@asynccontextmanager
async def serving(*sources: Any, **options: Any) -> AsyncIterator[Any]:
    """Yield an application whose sources are entered."""
    app = fastrpc.asgi(*(sources or (Shop(),)), **options)
    async with app.lifespan():
        yield app
