"""Calls with the same key to the same endpoint."""

from fastrpc._core.selector import ConsistentHashSelector

__all__ = ["ConsistentHash"]


class ConsistentHash(ConsistentHashSelector):
    """Pick by `with_options(hash_key=…)`: the same endpoint in every process, and few keys move when one comes or goes.

    No endpoint has more than `bound` times its share of the calls under way; what does not fit goes to the next on the
    ring. `bound=None` sends a key to its endpoint however busy that is. Calls without a key go anywhere.
    """

    __slots__ = ()
