"""A pool of memory for large payloads."""

def kept_blocks() -> tuple[int, int]:
    """Return the number of pooled payloads and their bytes, as (blocks, bytes)."""

def release_blocks() -> None:
    """Empty the pool; unused blocks are freed."""
