from typing import final

from fastrpc._core.base.buffer import Assembly

@final
class HeldFrame:
    """A frame whose payload is incomplete."""

@final
class FrameReader:
    """The reader of a connection, a part of it: cuts received bytes into frames and holds incomplete ones."""

    @property
    def sink(self) -> Assembly | None:
        """The place of an incomplete payload; None if it is skipped, or without such a payload."""

    @property
    def body_left(self) -> int:
        """The missing bytes of the incomplete payload."""

    @property
    def counted(self) -> int:
        """The bytes of the incomplete payload that are counted as held."""

    @property
    def dropped(self) -> str | None:
        """The reason why the incomplete payload is skipped for want of memory, or None."""
