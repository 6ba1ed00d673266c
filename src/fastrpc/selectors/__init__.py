"""Which endpoint takes a call: the interface, the built-in choices, and filters that narrow the endpoints first.

Picking happens for every attempt and is compiled (`_core/balancing/selectors.pyx`, `key_selectors.pyx`); the files here
are its faces. The first line of a compiled selector's docstring is its signature, since Cython gives constructors none.
Knows endpoints and the core, no network and no client.
"""

from fastrpc.selectors.base import Filter, Selector, selector_for
from fastrpc.selectors.consistent_hash import ConsistentHash
from fastrpc.selectors.filters import labels, subset, version, zone
from fastrpc.selectors.jump_hash import DoubleJump, JumpHash
from fastrpc.selectors.least_loaded import LeastLoaded
from fastrpc.selectors.random import Random
from fastrpc.selectors.round_robin import RoundRobin
from fastrpc.selectors.smooth_weighted import SmoothWeighted

__all__ = [
    "ConsistentHash",
    "DoubleJump",
    "Filter",
    "JumpHash",
    "LeastLoaded",
    "Random",
    "RoundRobin",
    "Selector",
    "SmoothWeighted",
    "labels",
    "selector_for",
    "subset",
    "version",
    "zone",
]
