from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection

class DeliveringConnection(ServedConnection):
    """The calls that messages of one subscription are.

    Subclasses implement `answer`, `fail` and `refuse`, which settle a message.
    """

    @property
    def decoded(self) -> ServerCall | None:
        """The call whose message is being decoded; None once its handler has ended."""
