"""Connect (https://connectrpc.com/docs/protocol): calls that curl can make, and streams of enveloped messages.

::

    POST /shop.v1.Orders/Get    Content-Type: application/json    Connect-Protocol-Version: 1     {"id": "7"}
    200                         application/json                  Trailer-Key: value              {"item": "tea"}
    404                         application/json                  {"code": "not_found", "message": "no order 7"}

    POST …    application/connect+proto    u8 flags, u32 length, the message …
    200       the same type                messages, then flags 2: {"error": {…}, "metadata": {"key": ["value"]}}

    GET /shop.v1.Orders/Get?connect=v1&encoding=json&message=%7B%22id%22%3A%227%22%7D     only safe methods
"""

import base64
import binascii
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from fastrpc._core.grpc.fields import binary_field
from fastrpc._core.http.responses import http_status_of
from fastrpc._core.link.failure import Failure
from fastrpc.rpc.protobuf.status_details import messages_in
from fastrpc.server.web.fields import Pairs, sent_fields
from fastrpc.server.web.form import EnvelopedCall, WebAnswer, WebCall, WebRequest
from fastrpc.status import Status

__all__ = ["ConnectStream", "ConnectUnary", "query_of"]

_VERSION: Final = b"connect-protocol-version"
_TIMEOUT: Final = b"connect-timeout-ms"
#: The most digits of a timeout in milliseconds.
_MOST_DIGITS: Final = 10


def query_of(query: str) -> dict[str, str] | None:
    """Return the query of a GET by Connect, still encoded; None if the request is not such a GET."""
    found = dict(part.partition("=")[::2] for part in query.split("&") if part)
    return found if found.get("connect") == "v1" else None


def _take_terms(call: WebCall, request: WebRequest) -> None:
    """Parse the version and the timeout of a request."""
    if request.values(_VERSION) and request.value(_VERSION) != b"1":
        call.refuse(Status.INVALID_ARGUMENT, "Connect-Protocol-Version must be 1")
    if request.values(_TIMEOUT):
        value = request.value(_TIMEOUT)
        if not value.isdigit() or len(value) > _MOST_DIGITS:
            text = value[:40].decode("ascii", "backslashreplace")
            call.refuse(
                Status.INVALID_ARGUMENT,
                f"Connect-Timeout-Ms is {text!r}, it must be 1 to {_MOST_DIGITS} digits",
            )
        else:
            call.timeout_us = int(value) * 1000


def _error(failure: Failure) -> dict[str, Any]:
    """Return the JSON of a failure."""
    status = Status(failure.status)
    code = "canceled" if status is Status.CANCELLED else status.name.lower()
    found: dict[str, Any] = {"code": code, "message": failure.text}
    if failure.details:
        found["details"] = [
            {"type": detail.type_url.rpartition("/")[2], "value": binary_field(detail.value).decode()}
            for detail in messages_in(failure.details)
        ]
    return found


class ConnectUnary(WebCall):
    """A call of a method without streams. The body is the message."""

    protocol = "connect"
    accepting_field = b"accept-encoding"
    encoding_field = b"content-encoding"

    def __init__(
        self, request: WebRequest, content_type: bytes, codec: int, query: dict[str, str] | None = None
    ) -> None:
        encoding = request.value(b"content-encoding")
        if query is not None:
            encoding = unquote_to_bytes(query.get("compression", ""))
        super().__init__(request, content_type, codec, encoding)
        #: The metadata that the handler sent before the answer.
        self._head = b""
        _take_terms(self, request)
        if query is not None:
            self._take_query(query)

    def _take_query(self, query: dict[str, str]) -> None:
        if "message" not in query:
            self.refuse(Status.INVALID_ARGUMENT, "the query of a GET has its message as `message`")
        # As in HTML forms, a plus sign means a space. It is not a digit of URL-safe base64.
        value = unquote_to_bytes(query.get("message", "").replace("+", " "))
        if query.get("base64") == "1":
            try:
                padded = value.rstrip(b"=") + b"=" * (-len(value.rstrip(b"=")) % 4)
                value = base64.b64decode(padded, altchars=b"-_", validate=True)
            except binascii.Error:
                self.refuse(Status.INVALID_ARGUMENT, "the message of the query is not base64 for URLs")
        self.payload = value

    def unfit(
        self, method: str, takes_stream: bool, gives_stream: bool, *, is_safe: bool, is_http1: bool = True
    ) -> tuple[int, str] | None:
        """Return an HTTP status and a text if the method does not allow this kind of request, else None."""
        if self.payload is not None and not is_safe:
            return 405, f"{method} is called by POST"
        if takes_stream or gives_stream:
            return 415, f"{method} streams: send application/connect+proto or application/connect+json"
        return None

    def head(self, metadata: bytes | None, compressor: int = 0) -> Pairs | None:
        """Keep the metadata, to send them with the answer, when the status is known."""
        self._head = metadata or b""
        return None

    def whole(
        self,
        payload: bytes | None,
        compressor: int,
        failure: Failure | None,
        trailers: bytes | None,
        status: int = 0,
    ) -> WebAnswer:
        """Return the answer. `status` is the HTTP status; 0 to derive it from the failure."""
        sent = sent_fields(self._head) + [
            (b"trailer-" + name, value) for name, value in sent_fields(trailers)
        ]
        if failure is not None:
            return self._failed(failure, status or http_status_of(failure.status), sent)
        fields = [(b"content-type", self.content_type), *self._encoding_fields(compressor)]
        return WebAnswer(200, fields + sent, payload or b"")

    def refusal(self, failure: Failure, status: int) -> WebAnswer | None:
        """Return the answer to a request that the HTTP layer refuses with a status."""
        return self._failed(failure, status, [])

    def _failed(self, failure: Failure, status: int, sent: Pairs) -> WebAnswer:
        fields = [(b"content-type", b"application/json"), *self._accepted_fields(failure)]
        return WebAnswer(status, fields + sent, msgspec.json.encode(_error(failure)))


class ConnectStream(EnvelopedCall):
    """A call of a method that streams."""

    protocol = "connect"
    accepting_field = b"connect-accept-encoding"
    encoding_field = b"connect-content-encoding"
    _end_flag = 2

    def __init__(self, request: WebRequest, content_type: bytes, codec: int) -> None:
        super().__init__(request, content_type, codec, request.value(b"connect-content-encoding"))
        _take_terms(self, request)

    def unfit(
        self, method: str, takes_stream: bool, gives_stream: bool, *, is_safe: bool, is_http1: bool = True
    ) -> tuple[int, str] | None:
        """Return an HTTP status and a text if the method does not allow this kind of request, else None."""
        if not (takes_stream or gives_stream):
            return 415, f"{method} does not stream: send application/proto or application/json"
        return super().unfit(method, takes_stream, gives_stream, is_safe=is_safe, is_http1=is_http1)

    def _end(self, failure: Failure | None, trailers: bytes | None) -> bytes:
        found: dict[str, Any] = {}
        if failure is not None:
            found["error"] = _error(failure)
        metadata: dict[str, list[str]] = {}
        for name, value in sent_fields(trailers):
            metadata.setdefault(name.decode(), []).append(value.decode())
        if metadata:
            found["metadata"] = metadata
        return msgspec.json.encode(found)
