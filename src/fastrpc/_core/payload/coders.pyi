from collections.abc import Callable
from typing import Any, Literal, final

from fastrpc._core.payload.hash_flood import HashFloodGuard
from fastrpc._core.payload.prescan_protobuf import MessageLayout

@final
class PayloadScan:
    """The scan of one part of a method's payloads before decoding.

    Args:
        codec_id: payloads of codecs other than msgpack (1), JSON (2) and protobuf (3) are not scanned.
        layout: the positions of messages in a protobuf payload.
        guard: checks keys with predictable hashes; None if the types have no such keys.
    """

    codec_id: int
    layout: MessageLayout | None
    guard: HashFloodGuard | None
    def __init__(
        self, codec_id: int, *, layout: MessageLayout | None = None, guard: HashFloodGuard | None = None
    ) -> None: ...
    def scan(
        self, payload: bytes | bytearray | memoryview, *, max_depth: int = 100, max_items: int = 1_000_000
    ) -> tuple[
        Literal[
            "ok", "too deep", "too many items", "malformed", "colliding keys", "no memory", "overlapping keys"
        ],
        int,
    ]:
        """Return the result of the scan of `payload`, and the bytes charged for its decoding."""

@final
class PayloadCoders:
    """The coders that a codec prepared for one method.

    Args:
        encode: arguments, result, message of the caller's stream -> payload.
        decode: payload -> result, None where results are sent and not checked; payload -> message of the caller's
            stream.
        exact: at n, payload of n arguments -> tuple; None where n arguments do not fit, or for all of them.
        open: payload -> list or dict of items.
        items: at i, one of those items -> value of parameter i.
        scan: the scans of arguments, result and message; None for types without containers.
    """

    codec: str
    codec_id: int
    scan_arguments: PayloadScan | None
    scan_result: PayloadScan | None
    scan_message: PayloadScan | None
    encode_arguments: Callable[[Any], bytes]
    encode_result: Callable[[Any], bytes]
    encode_message: Callable[[Any], bytes]
    decode_result: Any
    decode_message: Callable[[Any], Any]
    read_arguments: Callable[[Any], bytes] | None
    read_result: Callable[[Any], bytes] | None
    read_message: Callable[[Any], bytes] | None
    exact: tuple[Callable[[Any], Any] | None, ...] | None
    open: Callable[[Any], Any]
    items: tuple[Callable[[Any], Any], ...]
    def __init__(
        self,
        codec: str,
        codec_id: int,
        *,
        encode: tuple[Callable[[Any], bytes], Callable[[Any], bytes], Callable[[Any], bytes]],
        decode: tuple[Callable[[Any], Any] | None, Callable[[Any], Any]],
        exact: tuple[Callable[[Any], Any] | None, ...] | None,
        open: Callable[[Any], Any],
        items: tuple[Callable[[Any], Any], ...],
        scan: tuple[PayloadScan | None, PayloadScan | None, PayloadScan | None],
    ) -> None: ...
    def read_by(
        self,
        arguments: Callable[[Any], bytes],
        result: Callable[[Any], bytes],
        message: Callable[[Any], bytes],
    ) -> PayloadCoders:
        """Read payloads in another form: each function turns one into msgpack for all parts. Return this object."""
