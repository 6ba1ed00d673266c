"""Calls with the same key to the same endpoint.

Bounded load lets four calls of one key stay together (`least_load`). The strict bound would send the second of two
concurrent calls elsewhere on a nearly idle client, without need.
"""

from fastrpc._core.balancing.key_selectors import ConsistentHashSelector

__all__ = ["ConsistentHash"]


class ConsistentHash(ConsistentHashSelector):
    """Pick by `with_options(hash_key=…)`: the same endpoint in every process, and few keys move when one comes or goes.

    Calls beyond an endpoint's bound go to the next on the ring, and so do calls of an endpoint that cannot take them
    now. Calls without a key go anywhere.

    Args:
        bound: an endpoint has at most this many times its share of the calls under way. Too low moves keys for small
            bursts, too high lets one key load its endpoint alone; None sends a key there however busy it is.
        least_load: calls under way that every endpoint takes whatever `bound` says, so that with few of them keys stay
            where they are.
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None takes a random one.
    """

    __slots__ = ()
