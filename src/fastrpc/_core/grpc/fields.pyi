from collections.abc import Iterable
from typing import final

from fastrpc._core.base.buffer import Assembly
from fastrpc._core.http2.header_block import HeaderBlock

@final
class MessageReader:
    """A reader that cuts the DATA of one direction of a stream into messages of at most `limit` bytes."""

    limit: int

    def __init__(self, limit: int) -> None: ...
    def cut(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Read a part of the stream; return pairs of each completed message and whether it is compressed."""

    @property
    def is_cut(self) -> bool:
        """Whether a message, or its prefix, is partly received."""

    @property
    def assembly(self) -> Assembly | None:
        """The partly received message, or None before its first byte."""

    @property
    def total(self) -> int:
        """The size of the partly received message, or of the message returned last."""

    @property
    def is_compressed(self) -> bool: ...
    @property
    def problem(self) -> int:
        """The rule that a prefix broke: 0: none; 1: its flags are unknown; 2: the message is too large."""

def timeout_ns(value: bytes) -> int:
    """Return the nanoseconds of grpc-timeout, at most 31 years; -1 if it is malformed."""

def timeout_field(left_ns: int) -> bytes:
    """Return grpc-timeout for the nanoseconds left, rounded down, at least 1n."""

def message_field(text: str) -> bytes:
    """Return grpc-message for a text."""

def message_text(value: bytes) -> str:
    """Return the text of grpc-message; malformed escapes stay as they are."""

def binary_field(value: bytes) -> bytes:
    """Return the value of a field whose name ends in `-bin`, without padding."""

def binary_value(field: bytes) -> bytes | None:
    """Return the bytes of a field whose name ends in `-bin`, padded or not; None if it is not base64."""

def status_of(value: bytes) -> int:
    """Return the Status of grpc-status, UNKNOWN if it is malformed."""

def status_of_http(value: bytes) -> int:
    """Return the Status of an answer without grpc-status, by `:status`."""

def status_of_reset(code: int) -> int:
    """Return the Status of a stream that ended by RST_STREAM with this code."""

def metadata_of(block: HeaderBlock, dropped: list[bytes]) -> bytes | None:
    """Return the entries of a head or of trailers as native metadata, None without one.

    Names of entries that have no native form are added to `dropped`.
    """

def metadata_of_pairs(pairs: Iterable[tuple[bytes, bytes]], dropped: list[bytes]) -> bytes | None:
    """Return pairs of a name, in lower case, and a value as native metadata, by the rules of `metadata_of`."""

def metadata_fields(metadata: bytes) -> list[tuple[int, bytes, bytes]]:
    """Return native metadata as fields: token, name, value. `metadata_size` has checked it."""

def metadata_size(metadata: bytes, is_of_answer: bool = False) -> int:
    """Return how much native metadata adds to a header block, as MAX_HEADER_LIST_SIZE counts it.

    Raises:
        ValueError: an entry cannot be sent as a field.
    """

@final
class RequestHeads:
    """The constant fields of the request heads of one connection.

    Args:
        scheme: "http" or "https".
        authority: the host and port of the server.
        agent: the name and version of this program.
        credential: the token to send with each call, or None.
    """

    def __init__(self, scheme: str, authority: str, agent: str, credential: bytes | None) -> None: ...
