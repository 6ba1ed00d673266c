"""Calls with the same key to the same endpoint.

Bounded load keeps four calls of one key at one endpoint (`least_load`). On a nearly idle client the strict bound would
send the second of two concurrent calls elsewhere, without need.
"""

from fastrpc._core.balancing.key_selectors import ConsistentHashSelector

__all__ = ["ConsistentHash"]


class ConsistentHash(ConsistentHashSelector):
    """Pick by `with_options(hash_key=…)`: the same endpoint in every process; few keys move when an endpoint is added
    or removed.

    Calls beyond an endpoint's bound use the next on the ring, and so do calls of an endpoint that cannot take them now.
    Calls without a key may use any endpoint.

    Args:
        bound: an endpoint has at most this many times its share of the calls under way. Too low moves keys for small
            bursts, too high lets one key load its endpoint alone; None keeps a key at its endpoint under any load.
        least_load: calls under way that every endpoint accepts for any `bound`, so that with few calls keys stay where
            they are.
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None: a random seed.
    """

    __slots__ = ()
