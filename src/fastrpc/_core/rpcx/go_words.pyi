from typing import final

from fastrpc._core.server.served_connection import PlainDialect

@final
class RpcxDialect(PlainDialect):
    """The error texts of servers in Go."""
