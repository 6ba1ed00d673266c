from typing import final

from fastrpc._core.io.blocking_io import BlockingIO, LayeredIO
from fastrpc._core.rpcx.translation import RpcxTranslation

@final
class RpcxBlockingIO(LayeredIO):
    """The bytes of a native connection, which lie below as rpcx.

    Args:
        below: carries rpcx; owned from then on.
        translation: that of this connection.
    """

    def __init__(self, below: BlockingIO, translation: RpcxTranslation) -> None: ...
    @property
    def translation(self) -> RpcxTranslation: ...
