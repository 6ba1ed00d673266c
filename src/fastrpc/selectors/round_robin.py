"""One endpoint after the other."""

from fastrpc._core.selector import RoundRobinSelector

__all__ = ["RoundRobin"]


class RoundRobin(RoundRobinSelector):
    """Pick in turn, beginning anywhere: the default, and right where servers and calls are alike."""

    __slots__ = ()
