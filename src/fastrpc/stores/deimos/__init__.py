"""A store in Deimos, or in a store of ours that speaks its dialect.

`store` has its verbs, `leases` the items that end, `watching` the changes, of which a Deimos loses some.
"""

from fastrpc.stores.deimos.store import DeimosStore, open_deimos_store

__all__ = ["DeimosStore", "open_deimos_store"]
