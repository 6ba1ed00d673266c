from typing import Literal

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
