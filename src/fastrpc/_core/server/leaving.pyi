from typing import final

from fastrpc._core.link.contract import Wire
from fastrpc._core.server.connection_life import ConnectionLife

@final
class Leaving:
    """How one connection ends: by a drain, by a breach of its protocol, by a close.

    Args:
        life: the life of the connection, with its engine and its served connection, which have to outlast this object.
        wire: the protocol, which reports incomplete messages.
    """

    def __init__(self, life: ConnectionLife, wire: Wire) -> None: ...
    @property
    def ignores_input(self) -> bool:
        """Whether input is ignored: the connection closes once its calls have ended."""
