from typing import final

from fastrpc._core.link.contract import Forms
from fastrpc._core.server.python_served_connection import PythonServedConnection
from fastrpc._core.server.served_call import ServerCall

@final
class DeliveringForms(Forms):
    """The forms of a broker's messages: the marshal of a route decodes them with a function that reads `decoded`."""

class DeliveringConnection(PythonServedConnection):
    """The calls made from the messages of one subscription.

    Subclasses implement `answer`, `fail` and `refuse`, which settle a message.
    """

    #: The call whose payload is decoded next; the decoder clears it.
    decoded: ServerCall | None
