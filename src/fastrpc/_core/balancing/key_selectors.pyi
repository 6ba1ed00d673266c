from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from fastrpc._core.balancing.hash_ring import HashRing
from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc.endpoint import Endpoint

#: Narrows endpoints: gets all of them in order, and a function that tells whether one is healthy.
_Filter = Callable[[Sequence[Endpoint], Callable[[Endpoint], bool]], Sequence[Endpoint]]

class KeySelector(BaseSelector):
    """The base of the selectors that place calls by key.

    An endpoint set gives it the list that the filters leave, and shuts the endpoints that may not be picked now: their
    keys go to the next endpoint of each key, all other keys stay.
    """

    is_keyed: ClassVar[bool]

class ConsistentHashSelector(KeySelector):
    """Picks by the call's hash key on a ring with bounded load; a call without a key may use any endpoint.

    Args:
        bound: attempts under way on an endpoint are at most this many times its share; None for no bound.
        least_load: attempts that an endpoint takes whatever the bound.
    """

    def __init__(
        self,
        *,
        bound: float | None = 1.25,
        least_load: int = 4,
        filters: Iterable[_Filter] = (),
        seed: str | bytes | int | None = None,
    ) -> None: ...
    @property
    def ring(self) -> HashRing: ...

class JumpHashSelector(KeySelector):
    """Picks by FNV-1a and jump hash over the endpoints in order of their addresses.

    A call without a key is placed by its method and its one argument, where that is an int or a text.
    """

    def key_of(self, call: Any) -> str | bytes | int | None:
        """Return the key of a call: its `hash_key`, else rpcx's key of method and argument."""

    def rpcx_key(self, method: str, arguments: tuple[Any, ...]) -> str | None:
        """Return the key for a number of another kind; None if it has no key."""

class DoubleJumpSelector(JumpHashSelector):
    """Picks as rpcx's consistent hash does: FNV-1a and double jump hash."""
