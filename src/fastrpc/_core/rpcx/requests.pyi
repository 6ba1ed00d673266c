from typing import final

from fastrpc._core.link.contract import Dialect
from fastrpc._core.rpcx.framing import RpcxFraming

class RpcxRequests(RpcxFraming):
    """Makes calls from the frames of one connection; `RpcxWire` passes them to the gate."""

@final
class RpcxDialect(Dialect):
    """The error texts of servers in Go."""
