"""Selectors, which choose the endpoint of a call: the interface, the built-in selectors, and filters.

Picking happens for every attempt and is compiled (`_core/balancing/selectors.pyx`, `key_selectors.pyx`,
`wrapping_selectors.pyx`); the files here contain the public classes. The first line of a compiled selector's docstring
is its signature, as Cython constructors lack one. This package depends on endpoints and the core, not on the network or
clients.
"""

from typing import TYPE_CHECKING

from fastrpc.first_use import names_on_first_use

__all__ = [
    "Canary",
    "ConsistentHash",
    "DoubleJump",
    "Filter",
    "JumpHash",
    "LeastLoaded",
    "Random",
    "RoundRobin",
    "Selector",
    "SmoothWeighted",
    "Sticky",
    "closest",
    "labels",
    "selector_for",
    "subset",
    "version",
    "zone",
    "zones",
]

if TYPE_CHECKING:
    from fastrpc.selectors.base import Filter, Selector, selector_for
    from fastrpc.selectors.canary import Canary
    from fastrpc.selectors.consistent_hash import ConsistentHash
    from fastrpc.selectors.filters import labels, subset, version, zone
    from fastrpc.selectors.jump_hash import DoubleJump, JumpHash
    from fastrpc.selectors.least_loaded import LeastLoaded
    from fastrpc.selectors.places import closest, zones
    from fastrpc.selectors.random import Random
    from fastrpc.selectors.round_robin import RoundRobin
    from fastrpc.selectors.smooth_weighted import SmoothWeighted
    from fastrpc.selectors.sticky import Sticky
else:  # Type checkers would accept any attribute name.
    __getattr__ = names_on_first_use(
        __name__,
        {
            "base": "Filter Selector selector_for",
            "canary": "Canary",
            "consistent_hash": "ConsistentHash",
            "filters": "labels subset version zone",
            "jump_hash": "DoubleJump JumpHash",
            "least_loaded": "LeastLoaded",
            "places": "closest zones",
            "random": "Random",
            "round_robin": "RoundRobin",
            "smooth_weighted": "SmoothWeighted",
            "sticky": "Sticky",
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
