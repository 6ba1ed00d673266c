def log_sum(data: bytes | memoryview, first: int, second: int, *, is_big: bool) -> tuple[int, int]:
    """Return the two words of the checksum that goes on with bytes.

    Args:
        data: a multiple of 8 bytes.
        is_big: whether the words are big-endian.
    """
