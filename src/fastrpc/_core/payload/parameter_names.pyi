from collections.abc import Iterable
from typing import final

@final
class ParameterNames:
    """The names of a method's parameters, and the numbers that identify them.

    Args:
        names: in order, without `self` and without a stream.
        spellings: further accepted names; each has the accepted names of position 0, of position 1 …
    """

    names: tuple[str, ...]
    def __init__(self, names: tuple[str, ...], spellings: Iterable[Iterable[Iterable[str]]] = ()) -> None: ...
    def number(self, count: int) -> int:
        """Return the number of the first `count` names for a REQUEST; 0 if it cannot be sent."""

    def takes(self, told: int) -> bool:
        """Return whether a call with this number may start."""
