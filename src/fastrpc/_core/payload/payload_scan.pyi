from typing import Literal, final

from fastrpc._core.payload.hash_flood import HashFloodGuard
from fastrpc._core.payload.prescan_protobuf import MessageLayout

@final
class PayloadScan:
    """What one part of a method's payloads goes through before it is decoded.

    Args:
        codec_id: payloads of other codecs than msgpack (1), JSON (2) and protobuf (3) pass unread.
        layout: where the messages of a protobuf payload lie.
        guard: looks at keys that can be chosen to collide; None where the types have no such keys.
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
        """Return what the scan says of `payload`, and the bytes its decoding is charged with."""
