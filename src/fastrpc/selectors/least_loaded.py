"""The selector that prefers fast and idle endpoints."""

from fastrpc._core.balancing.selectors import LeastLoadedSelector

__all__ = ["LeastLoaded"]


class LeastLoaded(LeastLoadedSelector):
    """Pick the better of two random endpoints: the one with the shorter expected wait.

    Latency is a peak EWMA: a slow attempt counts immediately and in full, and decays within a few `decay` seconds, so
    that a server that was slow is tried again. A fault counts as at least ten times the usual time.

    Args:
        decay: seconds in which an observation loses 63 % of its weight, from 0.001 to 3,600. If it is too low, every
            outlier counts; if it is too high, the selector notices late that a server became slow or fast.
        clock: a function that returns seconds, for tests; None: the monotonic clock.
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None: a random seed.
    """

    __slots__ = ()
