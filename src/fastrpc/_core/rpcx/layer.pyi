import asyncio
from collections.abc import Iterable
from typing import Any

from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.rpcx.translation import RpcxTranslation

class RpcxLayer:
    """rpcx over one connection of a loop.

    Args:
        stream: the stream above, a session of the native protocol.
    """

    def __init__(
        self, stream: Any, translation: RpcxTranslation, loop: asyncio.AbstractEventLoop
    ) -> None: ...
    @property
    def stream(self) -> Any: ...
    @property
    def translation(self) -> RpcxTranslation: ...
    @property
    def transport(self) -> Any: ...
    @property
    def loop_state(self) -> LoopState: ...
    @property
    def engine(self) -> Any:
        """The connection above."""

    def connection_made(self, transport: Any) -> None:
        """Begin: the connection above opens at once."""

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport is to receive: the loop's shared buffer, which is copied from at once."""

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` bytes were received."""

    def eof_received(self) -> bool | None:
        """The server sends no more."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """The stream below is gone."""

    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def set_protocol(self, protocol: Any) -> None: ...
    def get_protocol(self) -> Any: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Translate and send."""

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """Translate and send pieces."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_reading(self) -> bool: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def get_write_buffer_limits(self) -> tuple[int, int]: ...
    def can_write_eof(self) -> bool:
        """Return False: a server of Go takes the end of our side for the end of the connection."""

    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
