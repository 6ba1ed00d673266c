from fastrpc._core.payload.marshal import Marshal
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection

class DeliveringConnection(ServedConnection):
    """The calls that messages of one subscription are.

    Subclasses implement `answer`, `fail` and `refuse`, which settle a message, and `marshal_of_message`.
    """

    def marshal_of_message(self, call: ServerCall) -> Marshal:
        """Return the marshal of a message, which decodes its value by the rules of its topic."""
