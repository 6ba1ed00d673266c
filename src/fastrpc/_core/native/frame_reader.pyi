from typing import final

from fastrpc._core.base.buffer import Assembly

@final
class HeldFrame:
    """A frame whose payload is still coming."""

@final
class FrameReader:
    """The reader of a connection, a part of it: cuts received bytes into frames and holds those that are not whole."""

    @property
    def sink(self) -> Assembly | None:
        """Where the payload of a frame that is still coming goes; None: it is skipped, or there is none."""

    @property
    def body_left(self) -> int:
        """Bytes of that payload that are missing."""

    @property
    def counted(self) -> int:
        """Bytes of that payload that are counted as held."""

    @property
    def dropped(self) -> str | None:
        """Why that payload is skipped for want of memory; None: it is not."""
