from collections.abc import Mapping
from typing import final

def key_hash(key: str | bytes | int) -> int:
    """Return the 64-bit hash of a key, the same in every process and on every machine.

    A text hashes like its UTF-8 bytes. Raises TypeError for any other type.
    """

def go_key_hash(key: str | bytes | int) -> int:
    """Return FNV-1a-64 of a key as Go rpcx makes it; of an integer, its decimal text is hashed."""

def jump(hash: int, buckets: int) -> int:
    """Return the jump hash of a 64-bit hash, 0 to `buckets` - 1 (Lamping and Veach, arXiv 1406.2294).

    Raises ValueError unless there is a bucket.
    """

@final
class HashRing:
    """Places keys on named nodes so that few keys move when a node comes or goes.

    The ring depends on names and weights alone: not on the process, the machine or the order of changes. Each unit
    of weight gets `points_per_weight` points; beyond 2**20 points in all, every node gets half of them, a quarter …

    `bound` keeps the load of every node (calls taken and not given back) at or below `bound` times its fair share,
    rounded up (Mirrokni, Thorup, Zadimoghaddam, arXiv 1608.01350); a key whose node is full goes to the next one
    with room. `least_load` calls are always taken, so that the bound does not scatter the few keys of a quiet time.
    None places keys whatever the load.

    Raises ValueError when `bound` is below 1, or `points_per_weight` or `least_load` is negative or too large.
    """

    def __init__(
        self,
        nodes: Mapping[str, int] | None = None,
        *,
        bound: float | None = None,
        least_load: int = 0,
        points_per_weight: int = 256,
    ) -> None: ...
    @property
    def points_per_weight(self) -> int: ...
    @property
    def points(self) -> int:
        """Points on the ring."""

    @property
    def numbers(self) -> int:
        """Numbers that nodes have or had: the number of each node is below it."""

    @property
    def total_load(self) -> int:
        """Keys taken and not given back, on all nodes."""

    def update(self, nodes: Mapping[str, int]) -> None:
        """Make these the nodes, by name and weight; nodes that stay keep their load.

        Costs one pass over the points, and hashing and sorting only for nodes that are new. A node of weight 0 gets
        no keys. Raises ValueError for a weight below 0 or above 2**16 and then changes nothing.
        """

    def add(self, name: str, weight: int = 1) -> None:
        """Add one node, or give it another weight."""

    def remove(self, name: str) -> None:
        """Remove one node; KeyError if it is missing."""

    def find(self, key: str | bytes | int) -> str:
        """Return the node of a key, whatever the load. Raises LookupError without nodes."""

    def find_all(self, key: str | bytes | int, count: int) -> list[str]:
        """Return up to `count` different nodes for a key, beginning with the node that `find` returns."""

    def acquire(self, key: str | bytes | int) -> str:
        """Place a key on a node with room, count it there, and return the node. Raises LookupError without nodes."""

    def release(self, name: str) -> None:
        """Release a key that `acquire` counted on a node; a removed node is not an error."""

    def load(self, name: str) -> int:
        """Return the keys taken and not given back on one node; 0 when it is gone."""

    def fingerprint(self) -> int:
        """Return a hash of all points and owners: two rings with the same one place every key alike."""

    def __len__(self) -> int: ...
    def __contains__(self, name: object) -> bool: ...
