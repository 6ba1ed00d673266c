from typing import final

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
    """A payload that comes in pieces, received straight into the bytes object the handler gets.

    Its memory grows with what was received, not with what was announced.
    """

    def __init__(self, total: int) -> None: ...
    @property
    def filled(self) -> int:
        """Bytes received."""

    @property
    def total(self) -> int:
        """Bytes announced."""
