"""The messages of the Model Context Protocol over HTTP, in the revisions 2025-06-18, 2025-11-25 and 2026-07-28.

The revisions of 2025 begin with `initialize`, here without a session; for tools they are equal. In the latest revision
every request states its revision, in `_meta` and in header fields, which must agree.

Sources: https://modelcontextprotocol.io/specification/2026-07-28, …/2025-11-25 and …/2025-06-18
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from fastrpc._version import __version__
from fastrpc.mcp.tools import Tool

__all__ = ["Answer", "Conversation", "ToolCall", "refused_body", "tool_failure", "tool_result"]

LEGACY: Final = "2025-11-25"
MODERN: Final = "2026-07-28"
#: The revisions that begin with `initialize`, the latest first.
_LEGACIES: Final = (LEGACY, "2025-06-18")
#: The revisions, the latest first.
REVISIONS: Final = (MODERN, *_LEGACIES)

_VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
_SERVER_KEY: Final = "io.modelcontextprotocol/serverInfo"

_PARSE_ERROR: Final = -32700
_INVALID_REQUEST: Final = -32600
_METHOD_NOT_FOUND: Final = -32601
_INVALID_PARAMS: Final = -32602
_REFUSED: Final = -32001
_HEADER_MISMATCH: Final = -32020
_UNSUPPORTED_VERSION: Final = -32022

#: Milliseconds for which clients may keep the list of tools: it changes with the services of a server.
_KEPT_MS: Final = 60_000

#: The longest id of a request: the id is kept until its answer, and no budget counts it.
_MOST_ID_CHARACTERS: Final = 1_024

_ENCODED: Final = ("=?base64?", "?=")

#: The errors of the decoder for a body that is not JSON.
_NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Params(msgspec.Struct):
    meta: dict[str, Any] | None = msgspec.field(name="_meta", default=None)


class _Initialize(_Params):
    revision: str | None = msgspec.field(name="protocolVersion", default=None)


class _List(_Params):
    cursor: str | None = None


class _Call(_Params, kw_only=True):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Message(msgspec.Struct):
    jsonrpc: str
    method: str
    id: int | float | Annotated[str, msgspec.Meta(max_length=_MOST_ID_CHARACTERS)] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    params: msgspec.Raw = msgspec.Raw(b"{}")


_decode_params: Final = msgspec.json.Decoder(_Params).decode
#: The decoders of the parameters of methods that have some.
_PARAMS: Final[dict[str, Callable[[bytes], _Params]]] = {
    "initialize": msgspec.json.Decoder(_Initialize).decode,
    "tools/list": msgspec.json.Decoder(_List).decode,
    "tools/call": msgspec.json.Decoder(_Call).decode,
}


class _Request(NamedTuple):
    """A request that has an answer."""

    id: int | float | str
    method: str
    params: _Params

    @property
    def meta(self) -> dict[str, Any]:
        return self.params.meta or {}


class Answer(NamedTuple):
    """The answer to a request: an HTTP status, and a message or nothing."""

    status: int
    message: dict[str, Any] | None = None

    @property
    def content(self) -> bytes:
        return b"" if self.message is None else msgspec.json.encode(self.message)


class ToolCall(NamedTuple):
    """A call that a request asks for."""

    tool: Tool
    arguments: bytes
    #: `id`: the id of the request. `revision`: the revision of the protocol that it states.
    id: int | float | str
    revision: str


class Conversation:
    """The answers of a server, without the calls themselves.

    Args:
        title: the name by which the server is known to people.
        tools: returns the tools by their names.
    """

    def __init__(self, title: str, tools: Callable[[], dict[str, Tool]]) -> None:
        self._info = {"name": "fastrpc", "title": title, "version": __version__}
        self._tools = tools

    def take(
        self, body: bytes, field: Callable[[str], str | None], may_call: Callable[[Tool | None], bool]
    ) -> Answer | ToolCall:
        """Return the answer to a request, or the call that it asks for.

        Args:
            field: returns the value of a header field of the request.
            may_call: returns whether the caller may call a tool; gets None for an unknown tool. To the caller,
                forbidden tools do not exist.
        """
        try:
            message = msgspec.json.decode(body, type=_Message)
        except msgspec.ValidationError as error:
            return _error(400, _INVALID_REQUEST, f"no request of JSON-RPC 2.0, which is an object: {error}")
        except _NO_JSON as error:
            return _error(400, _PARSE_ERROR, f"no JSON: {error}")
        if message.jsonrpc != "2.0":
            return _error(400, _INVALID_REQUEST, f"jsonrpc is {message.jsonrpc!r}, it must be '2.0'")
        if message.id is msgspec.UNSET:
            return Answer(202)
        request = _request_of(message, message.id)
        if isinstance(request, Answer):
            return request
        told = request.meta.get(_VERSION_KEY)
        if told is not None or field("mcp-protocol-version") == MODERN:
            return self._modern(request, told, field, may_call)
        return self._legacy(request, field, may_call)

    def _modern(
        self,
        request: _Request,
        told: Any,
        field: Callable[[str], str | None],
        may_call: Callable[[Tool | None], bool],
    ) -> Answer | ToolCall:
        named = request.params.name if isinstance(request.params, _Call) else None
        for name, expected in (
            ("MCP-Protocol-Version", told),
            ("Mcp-Method", request.method),
            ("Mcp-Name", named),
        ):
            found = _decoded(field(name.lower()))
            if found != expected and not (name == "Mcp-Name" and named is None):
                text = f"the field {name} is {found!r}, the message has {expected!r}"
                return _error(400, _HEADER_MISMATCH, text, request.id)
        if told != MODERN:
            data = {"supported": list(REVISIONS), "requested": str(told)}
            return _error(400, _UNSUPPORTED_VERSION, f"revision {told} is unknown", request.id, data)
        if not isinstance(request.meta.get(_CAPABILITIES_KEY), dict):
            return _error(400, _INVALID_PARAMS, f"_meta has no {_CAPABILITIES_KEY}", request.id)
        match request.method:
            case "server/discover":
                told_of = {"supportedVersions": list(REVISIONS), "capabilities": {"tools": {}}}
                return self._complete(request.id, told_of)
            case "tools/list":
                return self._complete(request.id, {"tools": self._listed(may_call, only_objects=False)})
            case "tools/call":
                return self._call(request, may_call, MODERN)
        return _error(404, _METHOD_NOT_FOUND, f"no method {request.method!r} here", request.id)

    def _legacy(
        self, request: _Request, field: Callable[[str], str | None], may_call: Callable[[Tool | None], bool]
    ) -> Answer | ToolCall:
        revision, params = field("mcp-protocol-version"), request.params
        if isinstance(params, _Initialize):
            agreed = params.revision if params.revision in _LEGACIES else LEGACY
            found = {"protocolVersion": agreed, "capabilities": {"tools": {}}, "serverInfo": self._info}
            return _result(request.id, found)
        if revision is not None and revision not in _LEGACIES:
            data = {"supported": list(REVISIONS), "requested": revision}
            return _error(400, _UNSUPPORTED_VERSION, f"revision {revision} is unknown", request.id, data)
        match request.method:
            case "ping":
                return _result(request.id, {})
            case "tools/list":
                return _result(request.id, {"tools": self._listed(may_call, only_objects=True)})
            case "tools/call":
                return self._call(request, may_call, LEGACY)
        return _error(200, _METHOD_NOT_FOUND, f"no method {request.method!r} here", request.id)

    def _call(
        self, request: _Request, may_call: Callable[[Tool | None], bool], revision: str
    ) -> Answer | ToolCall:
        assert isinstance(request.params, _Call)
        name, arguments = request.params.name, bytes(request.params.arguments)
        tool = self._tools().get(name)
        if not may_call(tool) or tool is None:
            # The answer is the same in both cases: a caller without access does not learn whether a tool exists.
            return _error(200, _INVALID_PARAMS, f"no tool {name!r} here", request.id)
        return ToolCall(tool, b"{}" if arguments == b"null" else arguments, request.id, revision)

    def _listed(self, may_call: Callable[[Tool | None], bool], *, only_objects: bool) -> list[dict[str, Any]]:
        tools: Iterable[Tool] = self._tools().values()
        return [tool.described(only_objects=only_objects) for tool in tools if may_call(tool)]

    def _complete(self, number: Any, found: dict[str, Any]) -> Answer:
        """Return the answer with its cache rules: private, since it depends on the caller."""
        kept = {"resultType": "complete", "ttlMs": _KEPT_MS, "cacheScope": "private"}
        return _result(number, {**kept, **found, "_meta": {_SERVER_KEY: self._info}})


def _request_of(message: _Message, number: int | float | str) -> _Request | Answer:
    """Return the request in a message, or an error if its parameters do not fit its method."""
    try:
        params = _PARAMS.get(message.method, _decode_params)(message.params)
    except msgspec.ValidationError as error:
        return _error(400, _INVALID_PARAMS, f"params of {message.method!r:.100}: {error}", number)
    except _NO_JSON as error:
        return _error(400, _PARSE_ERROR, f"no JSON: {error}", number)
    if isinstance(params, _List) and params.cursor is not None:
        return _error(400, _INVALID_PARAMS, "no list here has a nextCursor: leave cursor out", number)
    return _Request(number, message.method, params)


def refused_body(text: str) -> Answer:
    """Return the answer to a request with a refused body; `text` has the reason."""
    return _error(400, _INVALID_REQUEST, text)


def tool_result(call: ToolCall, value: bytes) -> Answer:
    """Return the answer with the result of a tool, which is JSON."""
    text = msgspec.json.decode(value) if value.startswith(b'"') else value.decode()
    found: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": False}
    is_told = call.tool.result is not None if call.revision == MODERN else call.tool.gives_object
    if is_told:
        found["structuredContent"] = msgspec.Raw(value)
    return _result(call.id, _of_revision(call, found))


def tool_failure(call: ToolCall, text: str, *, refused: dict[str, Any] | None = None) -> Answer:
    """Return the answer to a call that failed: a result that a model reads.

    Args:
        refused: code, processed and retry_after of a call that the server did not start; the answer is then an error of
            the protocol.
    """
    if refused is not None:
        return _error(200, _REFUSED, text, call.id, refused)
    return _result(
        call.id, _of_revision(call, {"content": [{"type": "text", "text": text}], "isError": True})
    )


def _of_revision(call: ToolCall, found: dict[str, Any]) -> dict[str, Any]:
    return {"resultType": "complete", **found} if call.revision == MODERN else found


def _result(number: Any, found: dict[str, Any]) -> Answer:
    return Answer(200, {"jsonrpc": "2.0", "id": number, "result": found})


def _error(status: int, code: int, text: str, number: Any = None, data: Any = None) -> Answer:
    error = {"code": code, "message": text}
    if data is not None:
        error["data"] = data
    # The answer has no id if the id of the request is unknown.
    known = {} if number is None else {"id": number}
    return Answer(status, {"jsonrpc": "2.0", **known, "error": error})


def _decoded(value: str | None) -> str | None:
    """Return the value of a field that may be written in base64."""
    first, last = _ENCODED
    if value is None or not (value.startswith(first) and value.endswith(last)):
        return value
    try:
        return base64.b64decode(value[len(first) : -len(last)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
