"""Large payloads in memory that was used before."""

def kept_blocks() -> tuple[int, int]:
    """Return how many payloads are remembered and how many bytes they have, as (blocks, bytes)."""

def release_blocks() -> None:
    """Forget all payloads; the memory of those nobody else uses goes back."""
