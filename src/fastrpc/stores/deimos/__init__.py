"""A store in Deimos, or in a fastrpc store with the HTTP API of Deimos.

`store` has the requests, `leases` the items with leases, and `watching` the changes, although Deimos loses events.
"""

from fastrpc.stores.deimos.store import DeimosStore, open_deimos_store

__all__ = ["DeimosStore", "open_deimos_store"]
