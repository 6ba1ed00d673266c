import asyncio
from collections.abc import Iterable
from typing import Any, final

from fastrpc._core.io.blocking_io import BlockingIO, LayeredIO
from fastrpc._core.io.layer import Layer
from fastrpc._core.rpcx.translation import RpcxTranslation

class RpcxLayer(Layer):
    """rpcx over one connection of a loop.

    Args:
        stream: the stream above, a session of the native protocol.
    """

    def __init__(
        self, stream: Any, translation: RpcxTranslation, loop: asyncio.AbstractEventLoop
    ) -> None: ...
    @property
    def translation(self) -> RpcxTranslation: ...
    @property
    def engine(self) -> Any:
        """The connection above."""

    def connection_made(self, transport: Any) -> None:
        """Start the connection above, which opens immediately."""

    def buffer_updated(self, nbytes: int) -> None:
        """Translate `nbytes` received bytes and pass them on."""

    def eof_received(self) -> bool | None:
        """Handle the end of the server's bytes."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Handle the loss of the stream below."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Translate and send."""

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """Translate and send several pieces of bytes."""

    def can_write_eof(self) -> bool:
        """Return False, because for a Go server the end of our side is the end of the connection."""

    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...

@final
class RpcxBlockingIO(LayeredIO):
    """The bytes of a native connection, which lie below as rpcx.

    Args:
        below: carries rpcx; owned from then on.
        translation: the translation of this connection.
    """

    def __init__(self, below: BlockingIO, translation: RpcxTranslation) -> None: ...
    @property
    def translation(self) -> RpcxTranslation: ...
