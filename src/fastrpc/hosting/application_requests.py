"""Scopes of ASGI as requests of HTTP/1.1, and one exchange: body events in, response events out."""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

from fastrpc.hosting.application_answers import EngineAnswer
from fastrpc.hosting.application_transport import ExchangeTransport, Surroundings

__all__ = ["FIELDS_OF_BODY", "answer_request", "opened_transport", "request_head"]

#: Fields about the connection of the enclosing server, and fields that ASGI replaces by events.
_OF_CONNECTION: Final = frozenset(b"connection keep-alive te trailer transfer-encoding upgrade".split())
_OF_CHUNKS: Final = _OF_CONNECTION | {b"content-length"}
FIELDS_OF_BODY: Final = _OF_CHUNKS | {b"expect"}

#: The end of the head of a request whose body comes in chunks.
_CHUNKED: Final = b"transfer-encoding: chunked\r\n\r\n"

#: The most digits of a length that the engine takes.
_DIGITS: Final = 18

#: Line ends inside a part would begin another one: the engine refuses the byte that replaces them.
_IN_VALUE: Final = bytes.maketrans(b"\r\n", b"\0\0")
_IN_NAME: Final = bytes.maketrans(b"\r\n:", b"\0\0\0")
_IN_TARGET: Final = bytes.maketrans(b"\r\n ", b"\0\0\0")

logger = logging.getLogger("fastrpc.server")


def request_head(
    scope: Mapping[str, Any], verb: str, left_out: frozenset[bytes], more: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """Return the head of a request, without the empty line at its end.

    Args:
        left_out: the names of fields that are not passed on.
        more: fields after the others.
    """
    version = b"1.0" if scope.get("http_version") == "1.0" else b"1.1"
    method = verb.encode("latin-1", "replace").translate(_IN_TARGET)
    lines = [b"%b %b HTTP/%b\r\n" % (method, _target_of(scope).translate(_IN_TARGET), version)]
    passed = [field for field in scope["headers"] if field[0] not in left_out]
    for name, value in (*passed, *more):
        lines.append(b"%b: %b\r\n" % (name.translate(_IN_NAME), value.translate(_IN_VALUE)))
    return b"".join(lines)


def _target_of(scope: Mapping[str, Any]) -> bytes:
    """Return path and query as they were sent, without the prefix of the application.

    An enclosing program may rewrite only the decoded path. That path then counts, and the sent form is unknown.
    """
    root, path = _root_of(scope), scope["path"]
    raw: bytes = (scope.get("raw_path") or b"").partition(b"?")[0]
    if unquote(raw.decode("latin-1")) != path:
        raw = b""
    prefix = quote(root).encode("ascii")
    if root and _is_below(path, root):
        path = path[len(root) :]
        raw = raw[len(prefix) :] if raw.startswith(prefix) else b""
    query: bytes = scope.get("query_string", b"")
    target = raw or quote(path, safe="/:@!$&'()*+,;=~").encode("ascii") or b"/"
    return b"%b?%b" % (target, query) if query else target


def _root_of(scope: Mapping[str, Any]) -> str:
    root: str = scope.get("root_path") or ""
    return root.rstrip("/")


def _is_below(path: str, root: str) -> bool:
    """Whether a path begins with the prefix; older ASGI servers have already removed the prefix."""
    return path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/")


def opened_transport(surroundings: Surroundings, scope: Mapping[str, Any]) -> ExchangeTransport:
    """Return the transport of an exchange, which gives the engine the peer."""
    scheme = "tls" if scope.get("scheme") in ("https", "wss") else "tcp"
    extra = {"peername": _peer_of(scope), "scheme": scheme, "root_path": _root_of(scope)}
    return ExchangeTransport(surroundings, extra)


def _peer_of(scope: Mapping[str, Any]) -> Any:
    """Return host and port of the client; another text that a proxy passed on; None without any."""
    client = scope.get("client") or ("", 0)
    host = str(client[0])
    if not host:
        return None
    if ":" in host:
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return host
    return host, int(client[1] or 0)


async def answer_request(
    surroundings: Surroundings,
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    """Answer the request of a scope."""
    transport = opened_transport(surroundings, scope)
    body = _Body(transport, scope, receive)
    reading = surroundings.parts.loop.create_task(body.run())
    answer = EngineAnswer(is_head=scope["method"] == "HEAD")
    try:
        while not answer.is_whole:
            data = await transport.read()
            if not data and answer.has_begun and (body.is_cut or not answer.ends_with_connection):
                # The enclosing server closes the connection of an answer that stops. An answer that has not begun is
                # reported as 503 even to a client that is gone: enclosing middleware treats no answer as a defect.
                return
            for event in answer.take(data):
                await send(event)
            if answer.asks_for_body:
                body.goes_on.set()
        transport.leave()
    except OSError:
        logger.debug("the client of a request to fastrpc.asgi is gone", exc_info=True)
    finally:
        reading.cancel()
        if not answer.is_whole:
            transport.abort()


class _Body:
    """The reader of one request: its head, its body, and the end of its client."""

    def __init__(
        self, transport: ExchangeTransport, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]]
    ) -> None:
        self._transport = transport
        self._scope = scope
        self._receive = receive
        #: Whether its client is gone.
        self.is_cut = False
        #: Whether its body is wanted: an enclosing server requests it with `Expect` as soon as it is received here.
        self.goes_on = asyncio.Event()

    async def run(self) -> None:
        """Give the request to the engine, and close once the client is gone."""
        try:
            if await self._pass_on():
                # Only the end follows.
                await self._part()
        except Exception:
            logger.exception("the body of a request to fastrpc.asgi cannot be read")
            self._transport.abort()

    async def _pass_on(self) -> bool:
        """Pass head and body on; return whether both are whole."""
        fields: dict[bytes, bytes] = dict(self._scope["headers"])
        version, verb = self._scope.get("http_version", "1.1"), self._scope["method"]
        is_newer, is_chunked = version > "1.1", b"transfer-encoding" in fields
        head = request_head(self._scope, verb, _OF_CHUNKS if is_chunked else _OF_CONNECTION)
        if not is_chunked and b"content-length" not in fields:
            # A body of HTTP/2 needs neither field: a Content-Type announces it, except with GET. Otherwise only its
            # first part shows whether there is a body: a route without one does not accept even an empty one in chunks.
            is_chunked = is_newer and b"content-type" in fields and verb not in {"GET", "HEAD"}
            if not is_chunked and (is_newer or b"expect" not in fields):
                return await self._pass_on_unknown(head, is_newer)
        self._transport.push(head + (_CHUNKED if is_chunked else b"\r\n"))
        # `Expect` has no meaning in HTTP/1.0 (RFC 9110, section 10.1.1).
        if b"expect" in fields and version != "1.0":
            await self.goes_on.wait()
        if is_chunked:
            return await self._pass_on_chunks(b"", True)
        # The engine refuses other forms.
        length = fields.get(b"content-length", b"")
        return await self._pass_on_known(int(length) if length.isdigit() and len(length) <= _DIGITS else 0)

    async def _pass_on_known(self, left: int) -> bool:
        """Pass on a body of `left` bytes; further bytes would be the next request."""
        has_more = True
        while has_more:
            part, has_more = await self._part()
            if part is None:
                return False
            await self._transport.feed(part[:left])
            left -= min(left, len(part))
        if left:
            self._cut()
        return not left

    async def _pass_on_unknown(self, head: bytes, is_newer: bool) -> bool:
        """Pass on a body whose first part shows whether there is one."""
        # With HTTP/2 that part may never arrive: the request counts, and its time runs, before it does.
        early, head = (head, b"") if is_newer else (b"", head)
        self._transport.push(early)
        part, has_more = await self._part()
        if part is None:
            return False
        if has_more:
            await self._transport.feed(head + _CHUNKED)
            return await self._pass_on_chunks(part, True)
        await self._transport.feed(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(part), part))
        return True

    async def _pass_on_chunks(self, part: bytes | None, has_more: bool) -> bool:
        """Pass on this part of a body, and the further ones."""
        while part is not None:
            if part:
                await self._transport.feed(b"%x\r\n%b\r\n" % (len(part), part))
            if not has_more:
                await self._transport.feed(b"0\r\n\r\n")
                return True
            part, has_more = await self._part()
        return False

    async def _part(self) -> tuple[bytes | None, bool]:
        """Return the next part of the body, and whether more follow; None: the client is gone."""
        event = await self._receive()
        if event["type"] == "http.disconnect":
            self._cut()
            return None, False
        return event.get("body", b""), event.get("more_body", False)

    def _cut(self) -> None:
        self.is_cut = True
        self._transport.abort()
