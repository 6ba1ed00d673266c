from typing import final

from fastrpc._core.link.contract import Forms
from fastrpc._core.server.python_served_connection import PythonOutcomes, PythonServedConnection
from fastrpc._core.server.served_call import ServerCall

@final
class DeliveringForms(Forms):
    """Messages of a broker: the marshal of a route decodes them by a function that reads `decoded`."""

@final
class DeliveringOutcomes(PythonOutcomes):
    """The outcomes of messages, which settle them; after the end of the connection they are dropped."""

class DeliveringConnection(PythonServedConnection):
    """The calls made from the messages of one subscription.

    Subclasses implement `answer`, `fail` and `refuse`, which settle a message.
    """

    @property
    def decoded(self) -> ServerCall | None:
        """The call whose payload was coded last, until any call ends: None then."""
