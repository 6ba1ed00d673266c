from typing import Literal, final

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

def prescan_payload(
    codec_id: int,
    payload: bytes | bytearray | memoryview,
    *,
    max_depth: int = 100,
    max_items: int = 1_000_000,
) -> tuple[Literal["ok", "too deep", "too many items", "malformed"], int]:
    """Return the result of the scan of `payload`, and the bytes charged for its decoding.

    The outermost container is depth 1, and a `max_depth` above 1,024 counts as 1,024. Every element,
    key and value inside a container is an item. Only msgpack (1) and JSON (2) are read; payloads of
    other codecs are "ok" and charged with their own bytes. Malformed JSON is left to the decoder.
    """

def noted_entries(
    codec_id: int, payload: bytes, *, maps: bool = True, arrays: bool = True, texts: bool = True
) -> list[tuple[Literal["map", "array"], list[bytes]]]:
    """Return the keys of each map, and the values of each array, of more than 64 entries: test hook.

    Without `texts` the keys of msgpack that are text or bytes are left out.
    """
