"""The selector that picks one endpoint after the other."""

from fastrpc._core.balancing.selectors import RoundRobinSelector

__all__ = ["RoundRobin"]


class RoundRobin(RoundRobinSelector):
    """Pick in turn, beginning at a random endpoint. The default, suitable if servers and calls are similar.

    Args:
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None: a random seed.
    """

    __slots__ = ()
