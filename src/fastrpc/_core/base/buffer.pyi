from typing import final

def kept_blocks() -> tuple[int, int]:
    """Return the number of pooled payloads and their bytes, as (blocks, bytes)."""

def release_blocks() -> None:
    """Empty the pool; unused blocks are freed."""

@final
class WriteBuffer:
    """Frames written and not yet handed to the transport; compiled code fills and takes it."""

    @property
    def size(self) -> int:
        """Bytes in it."""

@final
class ReadBuffer:
    """The block that every connection of a loop receives into."""

    def __init__(self, capacity: int) -> None: ...
    @property
    def capacity(self) -> int: ...

@final
class Assembly:
    """A payload that arrives in pieces, received straight into the bytes object for the handler.

    Its memory grows with the received bytes, not with the announced size.
    """

    def __init__(self, total: int) -> None: ...
    @property
    def filled(self) -> int:
        """Bytes received."""

    @property
    def total(self) -> int:
        """Bytes announced."""
