from collections.abc import Callable, Mapping, Sequence
from typing import final

from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc.endpoint import Endpoint
from fastrpc.selectors.base import Filter

@final
class BindingTable:
    """The endpoints of keys, in the order of their last use.

    Args:
        most: the largest number of keys; an owner makes room before it adds one.
        seed: of the hash that divides keys, unknown to callers.
    """

    def __init__(self, *, most: int, seed: int) -> None: ...
    def __len__(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def most(self) -> int: ...
    @property
    def nbytes(self) -> int:
        """The bytes of the table."""

class WrappingSelector(BaseSelector):
    """The base of selectors that pick by inner selectors, whose list of endpoints they have."""

class StickySelector(WrappingSelector):
    """StickySelector(inner, *, keep=3600, most=100000, clock=None)\n--\n\nBinds keys to endpoints."""

    def __init__(
        self,
        inner: BaseSelector,
        *,
        keep: float = 3600,
        most: int = 100_000,
        clock: Callable[[], float] | None = None,
    ) -> None: ...
    @property
    def inner(self) -> BaseSelector: ...
    @property
    def keep(self) -> float: ...
    @property
    def bindings(self) -> BindingTable: ...

def narrow_sides(
    to: Filter, filters: Sequence[Filter], endpoints: Sequence[Endpoint], is_sound: Callable[[Endpoint], bool]
) -> list[Endpoint]:
    """Return the endpoints of each side that the filters leave; filters may compare a whole side, as `zones` does."""

class CanarySelector(WrappingSelector):
    """CanarySelector(stable, canary, *, to, percent=0, by=None, when=None)\n--\n\nDivides calls between two sides."""

    #: The share of calls that go to the canary; it may be set at any time.
    percent: float

    def __init__(
        self,
        stable: BaseSelector,
        canary: BaseSelector,
        *,
        to: Filter,
        percent: float = 0,
        by: str | None = None,
        when: Mapping[str, str] | None = None,
    ) -> None: ...
    @property
    def stable(self) -> BaseSelector: ...
    @property
    def canary(self) -> BaseSelector: ...
    @property
    def by(self) -> str | None: ...
    @property
    def when(self) -> dict[str, str]: ...
