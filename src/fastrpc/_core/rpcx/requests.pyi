from typing import final

from fastrpc._core.rpcx.framing import RpcxFraming
from fastrpc._core.server.served_connection import PlainDialect

class RpcxRequests(RpcxFraming):
    """Makes calls from the frames of one connection; `RpcxWire` passes them to the gate."""

@final
class RpcxDialect(PlainDialect):
    """The error texts of servers in Go."""
