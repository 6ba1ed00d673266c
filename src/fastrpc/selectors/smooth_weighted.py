"""The selector that picks by weight."""

from fastrpc._core.balancing.selectors import SmoothWeightedSelector

__all__ = ["SmoothWeighted"]


class SmoothWeighted(SmoothWeightedSelector):
    """Pick by `Endpoint.weight`, with even gaps between picks of an endpoint: weights 5, 1, 1 give a a b a c a a.

    Args:
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None: a random seed.
    """

    __slots__ = ()
