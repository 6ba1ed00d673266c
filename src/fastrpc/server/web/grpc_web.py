"""gRPC-Web (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md): gRPC with trailers in the body.

::

    POST /shop.v1.Orders/Get    Content-Type: application/grpc-web+proto    the body: u8 flags, u32 length, the message
    200                         the same type                               messages, then flags 0x80: the trailers

With `-text`, body and answer are base64, and each part of an answer is padded separately.
"""

import base64
import binascii
from typing import Final

from fastrpc._core.grpc.fields import timeout_ns
from fastrpc._core.grpc.outcomes import failure_fields
from fastrpc._core.link.failure import Failure
from fastrpc.server.web.fields import sent_fields
from fastrpc.server.web.form import EnvelopedCall, WebRequest
from fastrpc.status import Status

__all__ = ["GrpcWebCall"]

#: Nanoseconds; as in gRPC, a longer timeout counts as no timeout.
_LONGEST_NS: Final = 10**18


class GrpcWebCall(EnvelopedCall):
    """A call by gRPC-Web."""

    protocol = "grpc_web"
    corrupt_status = Status.INTERNAL
    accepting_field = b"grpc-accept-encoding"
    encoding_field = b"grpc-encoding"
    _end_flag = 0x80

    def __init__(self, request: WebRequest, content_type: bytes, codec: int, *, is_text: bool) -> None:
        super().__init__(request, content_type, codec, request.value(b"grpc-encoding"))
        self.is_text = is_text
        #: The base64 digits of an incomplete group of four.
        self._digits = b""
        if request.values(b"grpc-timeout"):
            value = request.value(b"grpc-timeout")
            found = timeout_ns(value)
            if found < 0:
                text = value[:40].decode("ascii", "backslashreplace")
                self.refuse(
                    Status.INTERNAL,
                    f"grpc-timeout is {text!r}, it must be 1 to 8 digits and one of H M S m u n",
                )
            elif found < _LONGEST_NS:
                self.timeout_us = 0 if found == 0 else max(1, found // 1000)

    def decode(self, part: bytes, is_last: bool) -> bytes:
        """Return the bytes of a part of the body, decoded if the body is base64."""
        if not self.is_text:
            return part
        digits = self._digits + part
        size = len(digits) - _line_end_size(digits, is_last)
        whole = size if is_last else size - size % 4
        self._digits = digits[whole:]
        found, at = [], 0
        try:
            while at < whole:
                # Padding may occur inside a body, because its parts are padded separately.
                padded = digits.find(b"=", at, whole)
                end = whole if padded < 0 else min(whole, padded - padded % 4 + 4)
                found.append(base64.b64decode(digits[at:end], validate=True))
                at = end
        except binascii.Error:
            raise self._no_text() from None
        return b"".join(found)

    def _end(self, failure: Failure | None, trailers: bytes | None) -> bytes:
        sent = sent_fields(trailers)
        fields = [(b"grpc-status", b"0")]
        if failure is not None:
            held = [(0, name, value) for name, value in sent]
            fields = [(name, value) for _, name, value in failure_fields(failure, held)]
        return b"".join(b"%b: %b\r\n" % field for field in fields + sent)

    def _written(self, flags: int, content: bytes) -> bytes:
        part = super()._written(flags, content)
        return base64.b64encode(part) if self.is_text else part


def _line_end_size(digits: bytes, is_last: bool) -> int:
    """Return the size of a line end after base64, which some clients send. Its second byte may arrive later."""
    if digits.endswith(b"\r\n"):
        return 2
    return int(digits.endswith(b"\n") or (digits.endswith(b"\r") and not is_last))
