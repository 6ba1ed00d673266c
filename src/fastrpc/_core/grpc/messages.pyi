from typing import final

from fastrpc._core.base.buffer import Assembly

@final
class MessageReader:
    """Cuts the DATA of one direction of a stream into messages of at most `limit` bytes."""

    limit: int

    def __init__(self, limit: int) -> None: ...
    @property
    def assembly(self) -> Assembly | None:
        """The message under way, once some of it came."""

    @property
    def total(self) -> int:
        """Its length, or that of the message returned last."""

    @property
    def is_compressed(self) -> bool: ...
    @property
    def problem(self) -> int:
        """The rule that a prefix breaks, 0: none; 1: its flags; 2: its length."""
