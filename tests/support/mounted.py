"""A server with mounted applications, and applications in a line."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import fastrpc
from fastrpc import HTTP, Admission, Server, ServerConfig, Timeouts
from tests.support.http_talk import HttpClient

__all__ = ["Application", "Event", "Sending", "answering", "mounted", "part", "start", "whole_body"]

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]


@fastrpc.service("stock")
class Stock:
    """A service next to the applications."""

    @fastrpc.method(safe=True)
    async def count(self, name: str = "") -> int:
        return len(name)

    @fastrpc.method(safe=True, http="GET /items/{name}")
    async def item(self, name: str) -> str:
        return name


@contextlib.asynccontextmanager
async def mounted(
    mounts: Any,
    *,
    http: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    address: str = "tcp://127.0.0.1:0",
    connection: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[HttpClient]:
    """Serve applications and `Stock`, with a client of the server; one application is mounted at "/".

    Args:
        connection: the arguments of `HttpClient.to` after the address.
    """
    prefixes = mounts if isinstance(mounts, dict) else {"/": mounts}
    settings = {
        "timeouts": Timeouts(drain=5.0),
        # Frameworks take long for their first requests on a busy machine.
        "admission": Admission(queue_age=60),
        "protocols": ("native", "http"),
        **(config or {}),
    }
    full = ServerConfig(http=HTTP(mounts=prefixes, **(http or {})), **settings)
    async with Server(Stock(), config=full, **options) as server:
        found = await server.listen(address)
        async with await HttpClient.to(found, **(connection or {})) as client:
            client.server = server  # type: ignore[attr-defined]
            client.address = found  # type: ignore[attr-defined]
            yield client


async def whole_body(receive: Receive) -> bytes:
    """Return the body of a request."""
    body, more = b"", True
    while more:
        event = await receive()
        assert event["type"] == "http.request", event
        body += event["body"]
        more = event["more_body"]
    return body


def answering(
    *bodies: bytes, status: int = 200, headers: Any = (), then: Callable[[], Awaitable[Any]] | None = None
) -> Application:
    """Return an application that sends a response in these parts, and then waits for something."""

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await whole_body(receive)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, body in enumerate(bodies, 1):
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies)})
        if then is not None:
            await then()

    return application


class Sending:
    """An application that sends these events, and keeps the error that ends that."""

    def __init__(self, *events: Event) -> None:
        self._events = events
        self.error: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        try:
            for event in self._events:
                await send(event)
        except BaseException as error:
            self.error = error
            raise


def start(status: int = 200, **fields: str) -> Event:
    headers = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
    return {"type": "http.response.start", "status": status, "headers": headers}


def part(body: bytes = b"", *, more: bool = False) -> Event:
    return {"type": "http.response.body", "body": body, "more_body": more}
