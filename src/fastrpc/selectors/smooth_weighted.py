"""By weight, spread out."""

from fastrpc._core.selector import SmoothWeightedSelector

__all__ = ["SmoothWeighted"]


class SmoothWeighted(SmoothWeightedSelector):
    """Pick by `Endpoint.weight` so that picks of the same endpoint lie apart: 5, 1, 1 give a a b a c a a."""

    __slots__ = ()
