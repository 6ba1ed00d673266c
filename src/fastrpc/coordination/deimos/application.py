"""The HTTP API of Deimos as an ASGI application."""

import asyncio
import html
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from fastrpc.coordination.deimos.answers import DialectError, KeyEvent, body_of
from fastrpc.coordination.deimos.requests import FORM_BYTES, KeyRequest, clean_path, is_form, read_request
from fastrpc.coordination.deimos.tree import KeyTree
from fastrpc.coordination.remote.service import StoreService
from fastrpc.coordination.rights import READ_KEYS, WRITE_KEYS
from fastrpc.coordination.store import Store
from fastrpc.errors import CallError, ConfigError, StoreError
from fastrpc.hosted.draining import draining
from fastrpc.hosted.rights import Grant
from fastrpc.patterns import KeyPattern
from fastrpc.status import Status
from fastrpc.stores.local import LocalStore

__all__ = ["DeimosApplication", "deimos_app"]

#: Seconds after which a watch without an event ends with an empty body.
WATCH_SECONDS: Final = 300.0

_JSON: Final = (b"content-type", b"application/json")
_TEXT: Final = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
)

_Scope = dict[str, Any]
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]


def deimos_app(store: Store | StoreService) -> "DeimosApplication":
    """Return an application with the HTTP API of Deimos, for `HTTP(mounts={"/": …})`.

    Args:
        store: the result of `open_store` for `memory://` or `sqlite://`, or a `StoreService`, whose rights then apply.
            It has to be open before the server starts, and until the server has ended.
    """
    if not isinstance(store, (Store, StoreService)):
        raise ConfigError(
            f"deimos_app got {type(store).__name__}", hint="give the result of open_store, or a StoreService"
        )
    return DeimosApplication(store)


class DeimosApplication:
    """The ASGI application of `deimos_app`."""

    def __init__(self, store: Store | StoreService) -> None:
        self._store = store
        self._rights = store.rights if isinstance(store, StoreService) else None
        self._opened: KeyTree | None = None

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Handle a request, or the lifespan of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await _Exchange(self, scope, receive, send).answer()
        else:
            # Refuse the handshake, since Deimos has no WebSocket.
            await send({"type": "websocket.close"})

    @property
    def tree(self) -> KeyTree:
        """The tree of the keys. It observes the store from the first use on."""
        if self._opened is None:
            self._opened = KeyTree(self.local)
        return self._opened

    @property
    def local(self) -> LocalStore:
        """The store of this process.

        Raises:
            ConfigError: the store is not in this process, or it is closed.
        """
        found = self._store.local if isinstance(self._store, StoreService) else self._store.backend
        if not isinstance(found, LocalStore):
            raise ConfigError(
                "deimos_app got a store on another machine", hint="open memory://name or sqlite:///folder"
            )
        return found

    def check(self, right: Grant[KeyPattern], keys: Sequence[str]) -> None:
        """Raise an error if the caller of the running request lacks a right to one of the keys or prefixes."""
        if self._rights is not None:
            try:
                self._rights.check(right, keys)
            except CallError as error:
                raise DialectError(110, error.message, self.tree.index) from None

    def may_read(self, key: str) -> bool:
        """Return whether the caller of the running request may read a key."""
        return self._rights is None or bool(self._rights.granted(READ_KEYS, (key,)))

    async def _live(self, receive: _Receive, send: _Send) -> None:
        await receive()
        _ = self.tree
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.tree.close()
        self._opened = None
        await send({"type": "lifespan.shutdown.complete"})


class _Exchange:
    """One request and its response."""

    def __init__(self, app: DeimosApplication, scope: _Scope, receive: _Receive, send: _Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = dict(scope["headers"])
        self._verb: str = scope["method"]

    async def answer(self) -> None:
        """Answer the request."""
        path = self._scope["raw_path"].decode("ascii").removeprefix(self._scope["root_path"])
        try:
            self._refuse_pages()
            await self._route(path)
        except DialectError as error:
            index = (b"x-deimos-index", b"%d" % error.index)
            await self._respond(error.status, (index, _JSON), error.body())

    def _refuse_pages(self) -> None:
        """Refuse requests of web pages in browsers: any page could send them without permission."""
        site = self._headers.get(b"sec-fetch-site", b"none")
        if b"origin" in self._headers or site not in (b"none", b"same-origin"):
            raise DialectError(110, "pages in browsers are refused")

    async def _route(self, path: str) -> None:
        cleaned = clean_path(path)
        if self._verb == "OPTIONS":
            await self._respond(200, (), b"")
        elif cleaned != path:
            await self._redirect(cleaned)
        elif path == "/machines":
            await self._tell_machines()
        elif path != "/keys" and not path.startswith("/keys/"):
            await self._respond(404, _TEXT, b"404 page not found\n")
        elif self._verb not in ("GET", "PUT", "POST", "DELETE"):
            await self._refuse_verb(b"GET,PUT,POST,DELETE")
        else:
            form = await self._form()
            if form is None:
                return
            request = read_request(self._verb, path[5:], self._scope["query_string"], form)
            await (self._watch(request) if request.is_watch else self._do(request))

    async def _redirect(self, path: str) -> None:
        query = self._scope["query_string"].decode("ascii")
        place = f"{self._scope['root_path']}{path}{'?' if query else ''}{query}"
        fields = [(b"location", place.encode("ascii"))]
        body = b""
        if self._verb in ("GET", "HEAD"):
            fields.append((b"content-type", b"text/html; charset=utf-8"))
            body = f'<a href="{html.escape(place)}">Temporary Redirect</a>.\n\n'.encode()
        await self._respond(307, fields, body)

    async def _tell_machines(self) -> None:
        if self._verb not in ("GET", "HEAD"):
            await self._refuse_verb(b"GET,HEAD")
            return
        host, port = self._scope["server"] or ("", None)
        host = f"[{host}]" if ":" in host else host
        place = f"{self._scope['scheme']}://{host}:{port}"
        await self._respond(200, _TEXT[:1], place.encode())

    async def _refuse_verb(self, allowed: bytes) -> None:
        await self._respond(405, ((b"allow", allowed), *_TEXT), b"Method Not Allowed\n")

    async def _form(self) -> bytes | None:
        """Return the parameters in the body; None if the client disconnected first, as a condition might be missing."""
        if self._verb == "GET" or not is_form(self._headers.get(b"content-type", b"")):
            return b""
        body, has_more = bytearray(), True
        while has_more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                return None
            body += event.get("body", b"")
            if len(body) > FORM_BYTES:
                raise DialectError(209, f"a form has at most {FORM_BYTES} bytes")
            has_more = event.get("more_body", False)
        return bytes(body)

    async def _do(self, request: KeyRequest) -> None:
        tree = self._app.tree
        try:
            event, index = await self._committed(request)
        except StoreError as error:
            is_full = error.status is Status.RESOURCE_EXHAUSTED
            raise DialectError(111 if is_full else 300, error.message, tree.index) from None
        status = 201 if self._verb in ("PUT", "POST") and event.is_creation else 200
        await self._respond(
            status, (_JSON, (b"x-deimos-index", b"%d" % index), *_raft(index)), body_of(event)
        )

    async def _committed(self, request: KeyRequest) -> tuple[KeyEvent, int]:
        """Return the result of a request and its index, after all changes on which the result depends are committed.

        Raises:
            DialectError: the request is refused; the changes on which this depends are committed, too.
            StoreError: the store has stopped, or is full.
        """
        tree = self._app.tree
        work = {"GET": tree.get, "PUT": tree.put, "POST": tree.post, "DELETE": tree.delete}[self._verb]
        while True:
            result: KeyEvent | DialectError
            try:
                self._check(request)
                result = work(request)
            except DialectError as error:
                result = error
            index = tree.index
            is_kept = await self._app.local.settled()
            if is_kept:
                if isinstance(result, DialectError):
                    raise result
                return result, index
            if self._verb != "GET" and isinstance(result, KeyEvent):
                raise DialectError(111, "the disk of the store is full", tree.index)
            # Execute the request again: the store has undone a change that the request had read.

    def _check(self, request: KeyRequest) -> None:
        """Check the caller's right to the key; for a directory, also the right to all keys below it."""
        tree = self._app.tree
        key = tree.next_child(request.key) if self._verb == "POST" else request.key
        below = f"{key}/" if key else ""
        right = READ_KEYS if self._verb == "GET" else WRITE_KEYS
        if request.is_watch:
            self._app.check(right, [below] if request.is_recursive else [key or below])
        elif (node := tree.find(key)) is not None and node.is_directory:
            self._app.check(right, [below])
        elif request.is_directory and request.ttl is not None:
            # Everything below the directory is removed with it.
            self._app.check(right, [key, below])
        else:
            self._app.check(right, [key])

    async def _watch(self, request: KeyRequest) -> None:
        self._check(request)
        tree = self._app.tree
        found = tree.log.watch(
            request.key,
            request.wait_index,
            is_recursive=request.is_recursive,
            is_stream=request.is_stream,
            shows=lambda event: self._shows(request, event),
        )
        loop = asyncio.get_running_loop()
        with found, draining() as drain:
            await self._begin(200, (_JSON, *_raft(tree.index)))
            await self._part(b"", has_more=True)
            end = loop.call_later(WATCH_SECONDS, found.close)
            gone = asyncio.ensure_future(self._gone())
            for over in (gone, drain):
                over.add_done_callback(lambda _: found.close())
            try:
                while (event := await found.next()) is not None:
                    # Check the caller's right to the key again for each event: the right may end before the watch does.
                    self._check(request)
                    await self._part(body_of(event), has_more=True)
                    if not request.is_stream:
                        break
            except DialectError:
                # The head was sent already, so the error can only end the body.
                pass
            finally:
                end.cancel()
                gone.cancel()
            await self._part(b"", has_more=False)

    def _shows(self, request: KeyRequest, event: KeyEvent) -> bool:
        """Return whether the caller may see an event: the right to a directory does not cover a key of that name."""
        is_below = not request.is_recursive or event.node.key != request.key or not event.is_of_file
        return is_below or self._app.may_read(request.key)

    async def _gone(self) -> None:
        """Return once the client has disconnected."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _respond(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        await self._begin(status, fields)
        if self._verb != "HEAD":
            # Send the body chunked, as Go does.
            await self._part(body, has_more=True)
        await self._part(b"", has_more=False)

    async def _begin(self, status: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": list(fields)})

    async def _part(self, body: bytes, *, has_more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": has_more})


def _raft(index: int) -> tuple[tuple[bytes, bytes], ...]:
    return (b"x-raft-index", b"%d" % index), (b"x-raft-term", b"1")
