"""The selector that picks any endpoint with equal probability."""

from fastrpc._core.balancing.selectors import RandomSelector

__all__ = ["Random"]


class Random(RandomSelector):
    """Pick at random. This needs no state, and clients never pick in lockstep.

    Args:
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None: a random seed.
    """

    __slots__ = ()
