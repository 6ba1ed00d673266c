from typing import final

from fastrpc._core.base.buffer import WriteBuffer
from fastrpc._core.rpcx.frames import Profile

@final
class OpenRequest:
    """An incomplete REQUEST that arrives in pieces."""

@final
class RpcxTranslation:
    """The translation between a native connection of a client and a stream that speaks rpcx.

    Args: settings: the body of the SETTINGS that the connection above gets: what rpcx can carry. message_bytes: the
        most bytes of an answer. metadata_bytes: the most bytes of the metadata of an answer. frame_bytes: the most
        bytes of a frame that the connection above takes. takes_pushes: whether the connection above serves what a
        server pushes; otherwise pushes are dropped.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        settings: bytes,
        message_bytes: int,
        metadata_bytes: int,
        frame_bytes: int,
        takes_pushes: bool = False,
    ) -> None: ...
    @property
    def profile(self) -> Profile: ...
    @property
    def takes_pushes(self) -> bool: ...
    @property
    def down(self) -> WriteBuffer: ...
    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Translate bytes that the connection above sends."""

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Translate bytes from the server.

        Raises:
            RemoteProtocolError: the bytes are not rpcx.
        """

    def take_down(self) -> bytes:
        """Remove and return the bytes to be sent."""

    def take_up(self) -> bytes:
        """Remove and return the bytes that the connection above is to receive."""
