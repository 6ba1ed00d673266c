"""The parts of a started server that workers, hosts, gateways and admin pages use. They are not public."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastrpc._core.server.gate import Gate
    from fastrpc.handlers.services import ServiceTable
    from fastrpc.server.accepting import Accepting
    from fastrpc.server.listening import Listening
    from fastrpc.server.offer import Offer

__all__ = ["OpenedServer"]


class OpenedServer(NamedTuple):
    """The gate of a server, its services and records, and the two parts that accept connections."""

    gate: "Gate"
    served: "ServiceTable"
    offer: "Offer"
    accepting: "Accepting"
    listening: "Listening"
