"""Recognise requests that are calls by gRPC-Web or Connect."""

from typing import Final, NamedTuple

from fastrpc._core.server.gate import Gate
from fastrpc.assigned_numbers import CODECS
from fastrpc.config import ServerConfig
from fastrpc.server.web.connect import ConnectStream, ConnectUnary, query_of
from fastrpc.server.web.fields import Pairs
from fastrpc.server.web.form import WebCall, WebRequest
from fastrpc.server.web.grpc_web import GrpcWebCall

__all__ = ["WebRefusal", "WebCalls"]

_JSON, _PROTO = CODECS["json"], CODECS["protobuf"]

_GRPC_WEB: Final = b"application/grpc-web"
_CONNECT: Final = b"application/connect+"

#: The suffixes of `application/grpc-web`: the codec, and True if the body is base64.
_FORMS: Final = {
    b"": (_PROTO, False),
    b"+proto": (_PROTO, False),
    b"+json": (_JSON, False),
    b"-text": (_PROTO, True),
    b"-text+proto": (_PROTO, True),
}

#: The media types of Connect's calls without a stream.
_UNARY: Final = {b"application/proto": _PROTO, b"application/json": _JSON}
#: The names of codecs in the media types of Connect's streams.
_STREAMS: Final = {b"proto": _PROTO, b"json": _JSON}

_TEXT_CODING: Final = (b"", b"charset=utf-8", b'charset="utf-8"')


class WebRefusal(NamedTuple):
    """The refusal of a request with an HTTP status."""

    status: int
    text: str
    lines: bytes = b""


class WebCalls:
    """Recognises calls among HTTP requests.

    Args:
        gate: the gate of the server.
        config: the settings of the server.
    """

    def __init__(self, gate: Gate, config: ServerConfig) -> None:
        self._grpc_web = config.http.grpc_web
        self._connect = config.http.connect
        self._message_bytes = config.limits.message_bytes
        self._compressors = frozenset(gate.compressors)

    def __call__(self, verb: str, query: str, fields: Pairs) -> WebCall | WebRefusal | None:
        """Return the call in a request, or its refusal; None if the request is not such a call."""
        if verb == "GET":
            return self._of_query(verb, query, fields)
        types = [value for name, value in fields if name == b"content-type"]
        if len(types) != 1:
            return None
        kind, _, parameters = types[0].lower().partition(b";")
        kind = kind.strip(b" \t")
        if verb != "POST":
            is_call = self._connect and any(name == b"connect-protocol-version" for name, _ in fields)
            return (
                WebRefusal(405, "a call by Connect is a POST or GET", b"Allow: GET, POST\r\n")
                if is_call
                else None
            )
        request = WebRequest(verb, query, fields, self._message_bytes, self._compressors)
        if self._grpc_web and kind.startswith(_GRPC_WEB):
            form = _FORMS.get(kind[len(_GRPC_WEB) :])
            if form is None:
                return _unknown(kind, b"application/grpc-web+proto, application/grpc-web-text+proto")
            return GrpcWebCall(request, kind, form[0], is_text=form[1])
        return self._by_connect(request, kind, parameters.strip(b" \t")) if self._connect else None

    def _by_connect(self, request: WebRequest, kind: bytes, parameters: bytes) -> WebCall | WebRefusal | None:
        if kind.startswith(_CONNECT):
            codec = _STREAMS.get(kind[len(_CONNECT) :])
            if codec is None:
                return _unknown(kind, b"application/connect+proto, application/connect+json")
            return ConnectStream(request, kind, codec)
        codec = _UNARY.get(kind)
        if codec is None:
            return None
        if codec == _JSON:
            if request.values(b"connect-protocol-version") != [b"1"]:
                # The request is a call by the gateway's own JSON.
                return None
            if parameters not in _TEXT_CODING:
                return _unknown(kind + b"; " + parameters, b"application/json, application/proto")
        return ConnectUnary(request, kind, codec)

    def _of_query(self, verb: str, query: str, fields: Pairs) -> WebCall | WebRefusal | None:
        found = query_of(query) if self._connect else None
        if found is None:
            return None
        codec = _STREAMS.get(found.get("encoding", "").encode("latin-1", "replace"))
        if codec is None:
            return WebRefusal(415, "the encoding of a GET by Connect is json or proto")
        request = WebRequest(verb, query, fields, self._message_bytes, self._compressors)
        kind = b"application/json" if codec == _JSON else b"application/proto"
        return ConnectUnary(request, kind, codec, found)


def _unknown(kind: bytes, known: bytes) -> WebRefusal:
    text = f"the type {kind[:80].decode('ascii', 'backslashreplace')!r} is not taken here"
    return WebRefusal(415, text, b"Accept-Post: %b\r\n" % known)
