"""What a watch delivers."""

from dataclasses import dataclass

from fastrpc.endpoint import Endpoint

__all__ = ["Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Who serves one service, at one moment."""

    #: Grows from snapshot to snapshot of one registry object; says nothing about other registry objects.
    version: int

    #: In the order of their addresses, each address once.
    endpoints: tuple[Endpoint, ...]

    #: Whether this list comes from the cache file: the registry could not be asked yet.
    is_cached: bool = False
