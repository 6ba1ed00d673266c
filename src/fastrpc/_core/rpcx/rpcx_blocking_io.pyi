from typing import final

from fastrpc._core.io.blocking_io import BlockingIO, LockedIO
from fastrpc._core.rpcx.translation import RpcxTranslation

@final
class RpcxBlockingIO(LockedIO):
    """The bytes of a native connection, which lie below as rpcx.

    Args:
        below: what carries rpcx; owned from then on.
        translation: that of this connection.
    """

    def __init__(self, below: BlockingIO, translation: RpcxTranslation) -> None: ...
    @property
    def below(self) -> BlockingIO: ...
    @property
    def translation(self) -> RpcxTranslation: ...
    def close(self) -> None:
        """Close the socket, without a word to the peer. Closing twice is fine."""
