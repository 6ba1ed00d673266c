"""The common parts of gRPC-Web and Connect: the meaning of a request and the format of its answer."""

from collections.abc import Collection
from typing import ClassVar, Final, NamedTuple

from fastrpc._core.grpc.fields import MessageReader
from fastrpc._core.grpc.grpc_call import message_fault
from fastrpc._core.link.failure import Failure
from fastrpc.assigned_numbers import COMPRESSORS
from fastrpc.errors import CallError
from fastrpc.server.web.fields import Pairs, accepts, check_sent, metadata_of, sent_fields
from fastrpc.status import Status

__all__ = ["WebAnswer", "EnvelopedCall", "WebRequest", "WebCall"]

_GZIP: Final = COMPRESSORS["gzip"]
#: The number of an unknown compressor.
_UNKNOWN: Final = 255
#: The most bytes of an encoding's name in an error text.
_SHOWN_BYTES: Final = 40

#: The flag of a compressed message.
_COMPRESSED: Final = 1

#: The numbers of faults, which `message_fault` converts to statuses and texts.
_NO_MESSAGE, _MESSAGES, _CUT, _FLAGS, _ENCODING, _TOO_LARGE, _TEXT = range(1, 8)


class WebRequest(NamedTuple):
    """The head of a request, and the limits of a server."""

    verb: str
    query: str
    fields: Pairs
    #: The most bytes of a message.
    message_bytes: int
    #: The compressors of the server by number.
    compressors: Collection[int]

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field."""
        return [value for known, value in self.fields if known == name]

    def value(self, name: bytes) -> bytes:
        """Return the values of a field, joined by commas; b"" without a value."""
        return b",".join(self.values(name))


class WebAnswer(NamedTuple):
    """A whole answer: HTTP status, fields and content."""

    status: int
    fields: Pairs
    content: bytes


class WebCall:
    """A call by gRPC-Web or Connect."""

    #: The name of the protocol for `Peer.protocol`.
    protocol: ClassVar[str]
    #: True if the body consists of messages, which `cut` returns as they arrive; False if the body is one message.
    is_enveloped: ClassVar[bool] = False
    #: The status of a call with a message that cannot be decompressed.
    corrupt_status: ClassVar[Status] = Status.INVALID_ARGUMENT
    #: True if body and answer are base64.
    is_text: bool = False
    #: The header field that lists the encodings that a caller or server accepts.
    accepting_field: ClassVar[bytes]
    #: The header field that names the encoding of messages.
    encoding_field: ClassVar[bytes]

    def __init__(self, request: WebRequest, content_type: bytes, codec: int, encoding: bytes) -> None:
        self.content_type = content_type
        #: The codec of the messages, by number.
        self.codec = codec
        #: The names of metadata that were ignored.
        self.dropped: list[bytes] = []
        self.metadata = metadata_of(request.fields, self.dropped)
        #: The caller's timeout in microseconds; None for no timeout.
        self.timeout_us: int | None = None
        #: The message of a GET.
        self.payload: bytes | None = None
        #: The reason to refuse the call; None to accept it.
        self.fault: Failure | None = None
        self._takes_gzip = _GZIP in request.compressors
        self._has_gzip = self._takes_gzip and accepts(request.values(self.accepting_field), b"gzip")
        #: The number of the compressor of the body, or of its compressed messages; 0 for none.
        self.compressor = 0
        self._encoding = ""
        #: The compressor in the head that was sent; None before that.
        self._announced: int | None = None
        if encoding == b"gzip" and self._takes_gzip:
            self.compressor = _GZIP
        elif encoding not in (b"", b"identity"):
            self.compressor = _UNKNOWN
            self._encoding = encoding[:_SHOWN_BYTES].decode("ascii", "backslashreplace")

    def refuse(self, status: Status, text: str) -> None:
        """Refuse the call. Only the first reason is kept."""
        if self.fault is None:
            self.fault = Failure(status, text, has_run=False)

    def unfit(
        self, method: str, takes_stream: bool, gives_stream: bool, *, is_safe: bool, is_http1: bool = True
    ) -> tuple[int, str] | None:
        """Return an HTTP status and a text if the method does not allow this kind of request, else None."""
        raise NotImplementedError

    # Compressors

    def takes(self, number: int) -> bool:
        """Return whether messages of the answer may be compressed by the compressor with a number."""
        return number == _GZIP and self._has_gzip and self._announced in (None, number)

    def unknown_compressor(self) -> str:
        """Return the error text for the compressor of the request."""
        field, known = self.encoding_field.decode(), self._encodings().decode()
        return f"{field} is {self._encoding or 'identity'}, it must be one of {known}"

    def _encodings(self) -> bytes:
        return b"identity,gzip" if self._takes_gzip else b"identity"

    def _encoding_fields(self, compressor: int) -> Pairs:
        """Return the field that names the compressor of an answer."""
        return [(self.encoding_field, b"gzip")] if compressor == _GZIP else []

    def _accepted_fields(self, failure: Failure) -> Pairs:
        """Return the field with the accepted encodings, for a caller that used an unknown encoding."""
        told = failure.status == Status.UNIMPLEMENTED and self._encoding
        return [(self.accepting_field, self._encodings())] if told else []

    # Answers

    def check_sent(self, method: str, metadata: bytes) -> None:
        """Raise CallError for metadata that an answer cannot contain."""
        check_sent(method, metadata)


class EnvelopedCall(WebCall):
    """A call whose body and answer consist of messages. A flag byte and a length precede each, as in gRPC."""

    is_enveloped = True
    #: The flag of the last part of an answer, which is not a message.
    _end_flag: ClassVar[int]

    def __init__(self, request: WebRequest, content_type: bytes, codec: int, encoding: bytes) -> None:
        super().__init__(request, content_type, codec, encoding)
        self._reader = MessageReader(request.message_bytes)
        self._messages: list[tuple[bytes, int]] = []
        self._method = ""
        self._takes_stream = False
        #: The bytes of the body in memory.
        self.held = 0

    # The body

    def unfit(
        self, method: str, takes_stream: bool, gives_stream: bool, *, is_safe: bool, is_http1: bool = True
    ) -> tuple[int, str] | None:
        """Return an HTTP status and a text if the method does not allow this kind of request, else None."""
        self._method = method
        self._takes_stream = takes_stream
        if takes_stream and gives_stream and is_http1:
            return 505, f"{method} streams both ways, which takes HTTP/2"
        return None

    def cut(self, part: bytes, is_last: bool) -> list[tuple[bytes, int]]:
        """Parse a part of the body; return the messages that it completes, each with its compressor.

        For a call without a stream, its only message is returned at the end of the body.

        Raises:
            CallError: the body violates the protocol.
        """
        content = self.decode(part, is_last)
        self.held += len(content)
        found = [self._compressed(*message) for message in self._reader.cut(content)]
        if self._reader.problem:
            raise self._fault(_FLAGS if self._reader.problem == 1 else _TOO_LARGE)
        if is_last and self._reader.is_cut:
            raise self._fault(_CUT)
        if self._takes_stream:
            self.held -= sum(len(message) + 5 for message, _ in found)
            return found
        self._messages += found
        if len(self._messages) > 1:
            raise self._fault(_MESSAGES)
        if is_last and not self._messages:
            raise self._fault(_NO_MESSAGE)
        return self._messages if is_last else []

    def decode(self, part: bytes, is_last: bool) -> bytes:
        """Return the bytes of a part of the body, decoded if the body is base64.

        Raises:
            CallError: the part is not base64.
        """
        return part

    def _compressed(self, message: bytes, is_compressed: bool) -> tuple[bytes, int]:
        if is_compressed and not self.compressor:
            raise self._fault(_ENCODING)
        # An unknown compressor is reported even if no message is compressed.
        return message, self.compressor if is_compressed or self.compressor == _UNKNOWN else 0

    def _no_text(self) -> CallError:
        """Return the error for a body that is not base64."""
        return self._fault(_TEXT)

    def _fault(self, fault: int) -> CallError:
        self.held = 0
        limit = self._reader.limit
        status, text = message_fault(fault, self._method, self._reader.total, limit)
        return CallError(Status(status), text, processed="no")

    # The answer

    def head(self, metadata: bytes | None, compressor: int = 0) -> Pairs | None:
        """Return the header fields to send now, which also name the compressor of all later messages."""
        self._announced = compressor or (_GZIP if self.compressor == _GZIP and self._has_gzip else 0)
        return self._head_fields(self._announced, metadata)

    def _head_fields(self, compressor: int, metadata: bytes | None) -> Pairs:
        fields = [(b"content-type", self.content_type), *self._encoding_fields(compressor)]
        return fields + sent_fields(metadata)

    def message(self, payload: bytes, compressor: int) -> bytes:
        """Return a message of the answer."""
        return self._written(_COMPRESSED if compressor else 0, payload)

    def end(self, failure: Failure | None, trailers: bytes | None) -> bytes:
        """Return the last part of the answer."""
        return self._written(self._end_flag, self._end(failure, trailers))

    def _end(self, failure: Failure | None, trailers: bytes | None) -> bytes:
        raise NotImplementedError

    def whole(
        self,
        payload: bytes | None,
        compressor: int,
        failure: Failure | None,
        trailers: bytes | None,
        status: int = 0,
    ) -> WebAnswer:
        """Return a whole answer, with head and end. `status` is the HTTP status; 0 to derive it from the failure."""
        content = b"" if payload is None else self.message(payload, compressor)
        fields = self._head_fields(compressor, None)
        if failure is not None:
            fields += self._accepted_fields(failure)
        return WebAnswer(200, fields, content + self.end(failure, trailers))

    def refusal(self, failure: Failure, status: int) -> WebAnswer | None:
        """Return the answer to a request that the HTTP layer refuses; None to let the HTTP layer answer."""
        return None

    def _written(self, flags: int, content: bytes) -> bytes:
        return bytes((flags,)) + len(content).to_bytes(4, "big") + content
