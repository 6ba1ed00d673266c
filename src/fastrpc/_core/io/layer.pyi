import asyncio
from typing import Any

from fastrpc._core.loop.loop_state import LoopState

PLAIN_TRANSPORTS: frozenset[tuple[str, str]]

def is_nameless(transport: asyncio.BaseTransport) -> bool:
    """Return whether the system no longer reports the address of a connection's peer: it was reset."""

class Layer:
    """A layer between a transport, to which it is a protocol, and a protocol, to which it is a transport."""

    @property
    def loop_state(self) -> LoopState: ...
    @property
    def transport(self) -> Any:
        """The transport below; None before it is connected."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the place for bytes of the transport: the loop's shared buffer."""

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def set_protocol(self, protocol: Any) -> None:
        """Replace the protocol above."""

    def get_protocol(self) -> Any: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the information that the transport below has."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_reading(self) -> bool: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def get_write_buffer_limits(self) -> tuple[int, int]: ...
