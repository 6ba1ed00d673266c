def find_double_key(codec_id: int, payload: bytes) -> str | None:
    """Return a key that comes twice in one map of a payload, or None; a malformed payload has none.

    Args:
        codec_id: the number of msgpack or of JSON.
    """
