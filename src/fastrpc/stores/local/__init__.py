"""A store in this process with one revision for all keys: items, leases, history.

`commits` implements group commits for any journal. It does not depend on items, and brokers use it, too.
"""

from fastrpc.stores.local.leases import ITEM_LEASE
from fastrpc.stores.local.observing import Creation, StoreObserver
from fastrpc.stores.local.store import LocalStore
from fastrpc.stores.local.uncommitted import Uncommitted

__all__ = ["ITEM_LEASE", "Creation", "LocalStore", "StoreObserver", "Uncommitted"]
