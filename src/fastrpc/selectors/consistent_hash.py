"""Consistent hashing: calls with the same key use the same endpoint.

`least_load` exempts four calls per endpoint from the bound. On a nearly idle client the strict bound would needlessly
send the second of two concurrent calls elsewhere.
"""

from fastrpc._core.balancing.key_selectors import ConsistentHashSelector

__all__ = ["ConsistentHash"]


class ConsistentHash(ConsistentHashSelector):
    """Pick by `with_options(hash_key=…)`: the same endpoint in every process; few keys move when an endpoint is added
    or removed.

    Calls beyond an endpoint's bound use the next endpoint on the ring. So do calls while their endpoint is unavailable.
    Calls without a key may use any endpoint.

    Args:
        bound: an endpoint has at most this many times its share of the calls in flight. If it is too low, small bursts
            move keys; if it is too high, one key can overload its endpoint. None keeps a key at its endpoint under any
            load.
        least_load: calls in flight that an endpoint accepts regardless of `bound`, so that keys do not move while there
            are few calls.
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None: a random seed.
    """

    __slots__ = ()
