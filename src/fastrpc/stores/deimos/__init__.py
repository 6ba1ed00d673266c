"""A store in Deimos, or in a store of ours that speaks its dialect.

`store` has the verbs, `leases` the items that end, and `watching` the changes; a Deimos loses some of them.
"""

from fastrpc.stores.deimos.store import DeimosStore, open_deimos_store

__all__ = ["DeimosStore", "open_deimos_store"]
