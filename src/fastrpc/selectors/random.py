"""Any endpoint, with equal probability."""

from fastrpc._core.selector import RandomSelector

__all__ = ["Random"]


class Random(RandomSelector):
    """Pick at random: nothing to learn, nothing that many clients could do in step."""

    __slots__ = ()
