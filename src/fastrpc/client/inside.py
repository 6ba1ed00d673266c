"""The connections of a client of either kind, for other parts of the package; they are not public."""

from typing import Protocol, TypeVar

__all__ = ["pool_of"]

P_co = TypeVar("P_co", covariant=True)


class _Client(Protocol[P_co]):
    @property
    def _pool(self) -> P_co: ...


def pool_of(client: _Client[P_co]) -> P_co:
    """Return the connections of a client."""
    return client._pool
