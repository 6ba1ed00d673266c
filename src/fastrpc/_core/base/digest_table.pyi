from collections.abc import Sequence
from typing import final

@final
class DigestTable:
    """Numbers of digests of 32 bytes, by their order.

    Args:
        digests: the digests, each once.

    Raises:
        ValueError: a digest has another length.
    """

    def __init__(self, digests: Sequence[bytes]) -> None: ...
    @property
    def reach(self) -> int:
        """The number of slots that every search reads."""

    def find(self, digest: bytes) -> int:
        """Return the number of a digest, counted from 0; -1 if it is not in the table."""
