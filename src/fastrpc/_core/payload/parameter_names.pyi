from collections.abc import Iterable
from typing import final

@final
class ParameterNames:
    """The names of a method's parameters, and the numbers that tell them.

    Args:
        names: in order, without `self` and without a stream.
        spellings: what is accepted besides; each has the accepted names of position 0, of position 1 …
    """

    names: tuple[str, ...]
    def __init__(self, names: tuple[str, ...], spellings: Iterable[Iterable[Iterable[str]]] = ()) -> None: ...
    def number(self, count: int) -> int:
        """Return what a REQUEST tells of the first `count` names; 0 where that cannot be told."""

    def takes(self, told: int) -> bool:
        """Return whether a call that tells this may start."""
