"""Away from what is slow or busy."""

from fastrpc._core.selector import LeastLoadedSelector

__all__ = ["LeastLoaded"]


class LeastLoaded(LeastLoadedSelector):
    """Pick the better of two random endpoints: the one where a call would wait less.

    How long attempts take is a peak EWMA: a slow one counts at once and is forgotten within a few `decay` seconds,
    so that a server that was slow is tried again. A fault counts as ten times the usual time.
    """

    __slots__ = ()
