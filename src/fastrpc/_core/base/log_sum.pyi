def log_sum(data: bytes | memoryview, first: int, second: int, *, is_big: bool) -> tuple[int, int]:
    """Add bytes to a checksum, given as its two words so far; return its two words.

    Args:
        data: a multiple of 8 bytes.
        is_big: whether the words are big-endian.
    """
