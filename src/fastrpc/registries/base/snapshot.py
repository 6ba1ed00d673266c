"""One list of a service, as a watch delivers it."""

from dataclasses import dataclass

from fastrpc.endpoint import Endpoint

__all__ = ["Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The endpoints of one service at one moment."""

    #: Increases with each snapshot of one registry object. Versions of different registry objects cannot be compared.
    version: int

    #: The endpoints in the order of their addresses, each address once.
    endpoints: tuple[Endpoint, ...]

    #: True if the list comes from the cache file, because the registry has not answered yet.
    is_cached: bool = False
