"""Convert an ASGI scope and its body events to an HTTP/1.1 request, and send the response events."""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

from fastrpc.hosting.application_answers import EngineAnswer
from fastrpc.hosting.application_transport import ExchangeTransport, Surroundings

__all__ = ["FIELDS_OF_BODY", "answer_request", "opened_transport", "request_head"]

#: _OF_CONNECTION: fields about the ASGI server's connection. The other two also have fields that ASGI replaces by
#: events.
_OF_CONNECTION: Final = frozenset(b"connection keep-alive te trailer transfer-encoding upgrade".split())
_OF_CHUNKS: Final = _OF_CONNECTION | {b"content-length"}
FIELDS_OF_BODY: Final = _OF_CHUNKS | {b"expect"}

#: The end of a request head whose body is chunked.
_CHUNKED: Final = b"transfer-encoding: chunked\r\n\r\n"

#: Most digits of a content length that the engine accepts.
_DIGITS: Final = 18

#: Replaces line ends in a field, which would start another field, by a byte that the engine refuses.
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
        more: fields to append.
    """
    version = b"1.0" if scope.get("http_version") == "1.0" else b"1.1"
    method = verb.encode("latin-1", "replace").translate(_IN_TARGET)
    lines = [b"%b %b HTTP/%b\r\n" % (method, _target_of(scope).translate(_IN_TARGET), version)]
    passed = [field for field in scope["headers"] if field[0] not in left_out]
    for name, value in (*passed, *more):
        lines.append(b"%b: %b\r\n" % (name.translate(_IN_NAME), value.translate(_IN_VALUE)))
    return b"".join(lines)


def _target_of(scope: Mapping[str, Any]) -> bytes:
    """Return the path and the query in the form in which they were sent, without the prefix of the application.

    If an enclosing program has rewritten the decoded path, that path counts, and its raw form is unknown.
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
    """Return whether a path begins with the prefix. Older ASGI servers remove the prefix themselves."""
    return path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/")


def opened_transport(surroundings: Surroundings, scope: Mapping[str, Any]) -> ExchangeTransport:
    """Return the transport of an exchange. It tells the engine the address of the client."""
    scheme = "tls" if scope.get("scheme") in ("https", "wss") else "tcp"
    extra = {"peername": _peer_of(scope), "scheme": scheme, "root_path": _root_of(scope)}
    return ExchangeTransport(surroundings, extra)


def _peer_of(scope: Mapping[str, Any]) -> Any:
    """Return the host and port of the client, or a text from a proxy, or None."""
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
                # The ASGI server closes the connection if an answer stops. If no answer has started, send 503 even if
                # the client has disconnected: enclosing middleware treats a missing answer as a bug.
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
    """Reads one request: the head, the body, and the disconnect of the client."""

    def __init__(
        self, transport: ExchangeTransport, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]]
    ) -> None:
        self._transport = transport
        self._scope = scope
        self._receive = receive
        #: True if the client has disconnected.
        self.is_cut = False
        #: Set when the body is wanted. With `Expect`, the ASGI server sends 100 Continue at our first `receive`.
        self.goes_on = asyncio.Event()

    async def run(self) -> None:
        """Pass the request to the engine. Close the transport once the client has disconnected."""
        try:
            if await self._pass_on():
                # After the body the only further event is the disconnect.
                await self._part()
        except Exception:
            logger.exception("the body of a request to fastrpc.asgi cannot be read")
            self._transport.abort()

    async def _pass_on(self) -> bool:
        """Pass the head and the body on; return whether both are complete."""
        fields: dict[bytes, bytes] = dict(self._scope["headers"])
        version, verb = self._scope.get("http_version", "1.1"), self._scope["method"]
        is_newer, is_chunked = version > "1.1", b"transfer-encoding" in fields
        head = request_head(self._scope, verb, _OF_CHUNKS if is_chunked else _OF_CONNECTION)
        if not is_chunked and b"content-length" not in fields:
            # In HTTP/2 a body needs neither Transfer-Encoding nor Content-Length. A Content-Type announces a body,
            # except with GET and HEAD. Otherwise the first part shows whether there is a body. A request without a body
            # must not be sent as chunked, because some routes refuse even an empty chunked body.
            is_chunked = is_newer and b"content-type" in fields and verb not in {"GET", "HEAD"}
            if not is_chunked and (is_newer or b"expect" not in fields):
                return await self._pass_on_unknown(head, is_newer)
        self._transport.push(head + (_CHUNKED if is_chunked else b"\r\n"))
        # `Expect` has no meaning in HTTP/1.0 (RFC 9110, section 10.1.1).
        if b"expect" in fields and version != "1.0":
            await self.goes_on.wait()
        if is_chunked:
            return await self._pass_on_chunks(b"", True)
        # The head has any other form of Content-Length unchanged, and the engine refuses it.
        length = fields.get(b"content-length", b"")
        return await self._pass_on_known(int(length) if length.isdigit() and len(length) <= _DIGITS else 0)

    async def _pass_on_known(self, left: int) -> bool:
        """Pass on a body of `left` bytes, and drop further bytes, which the engine would take for another request."""
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
        # With HTTP/2 pass the head on first: the first part of the body may never arrive, but the request has to be
        # counted and has to time out.
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
        """Pass on this part of a body and all further parts as chunks."""
        while part is not None:
            if part:
                await self._transport.feed(b"%x\r\n%b\r\n" % (len(part), part))
            if not has_more:
                await self._transport.feed(b"0\r\n\r\n")
                return True
            part, has_more = await self._part()
        return False

    async def _part(self) -> tuple[bytes | None, bool]:
        """Return the next part of the body and whether more parts follow; the part is None after a disconnect."""
        event = await self._receive()
        if event["type"] == "http.disconnect":
            self._cut()
            return None, False
        return event.get("body", b""), event.get("more_body", False)

    def _cut(self) -> None:
        self.is_cut = True
        self._transport.abort()
