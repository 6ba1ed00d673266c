"""Message size limits that options of a channel or server set: a limit for each direction, which may have any value.

`Limits.message_bytes` has a minimum and protects the memory of the process. The limits here are checked when a message
is complete.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fastrpc.errors import CallError
from fastrpc.rpc.given_coders import GivenCoders
from fastrpc.status import Status

__all__ = ["NO_LIMITS", "MessageLimits", "TooLargeError", "as_given"]


class TooLargeError(CallError):
    """A message exceeds a limit of its channel or server."""


class MessageLimits(NamedTuple):
    """The most bytes of a message in each direction; None: only the settings limit it."""

    sent: int | None = None
    received: int | None = None

    def around(self, coders: GivenCoders, side: str) -> GivenCoders:
        """Wrap coders so that they raise `TooLargeError`, whose text names the side."""
        encode, decode, decode_result, received = coders
        if self.sent is not None:
            encode = _encoding(encode, self.sent, side)
        if self.received is not None:
            decode = _decoding(decode, self.received, side)
            decode_result = None if decode_result is None else _decoding(decode_result, self.received, side)
        return GivenCoders(encode, decode, decode_result, received)


def as_given(message: bytes) -> bytes:
    """Return a message that must already be encoded.

    Raises:
        TypeError: the message is not bytes.
    """
    if not isinstance(message, bytes):
        raise TypeError(f"a message is {type(message).__name__}, without a function that encodes it is bytes")
    return message


NO_LIMITS: Final = MessageLimits()


def _encoding(encode: Callable[[Any], bytes], most: int, side: str) -> Callable[[Any], bytes]:
    def bounded(value: Any) -> bytes:
        payload = encode(value)
        if len(payload) > most:
            raise _too_large(f"{side}: Sent", len(payload), most)
        return payload

    return bounded


def _decoding(decode: Callable[[bytes], Any], most: int, side: str) -> Callable[[bytes], Any]:
    def bounded(payload: bytes) -> Any:
        if len(payload) > most:
            raise _too_large(f"{side}: Received", len(payload), most)
        return decode(payload)

    return bounded


def _too_large(what: str, size: int, most: int) -> TooLargeError:
    return TooLargeError(Status.RESOURCE_EXHAUSTED, f"{what} message larger than max ({size} vs. {most})")
