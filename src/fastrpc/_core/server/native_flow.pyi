from typing import final

from fastrpc._core.link.contract import Flow
from fastrpc._core.server.served_connection import PlainDialect

@final
class NativeDialect(PlainDialect):
    """The words of the dispatcher, and the numbers that the peer gave its compressors."""

@final
class NativeFlow(Flow):
    """The streams of all native connections, by the connection of each call."""
