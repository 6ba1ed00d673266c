from typing import final

from fastrpc._core.link.contract import Flow
from fastrpc._core.server.served_connection import PlainDialect

@final
class NativeDialect(PlainDialect):
    """The error texts of the dispatcher, and the peer's numbers of compressors."""

@final
class NativeFlow(Flow):
    """Sends and receives the messages of streams on native connections. All connections share one object."""
