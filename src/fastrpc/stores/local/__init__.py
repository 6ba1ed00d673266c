"""A store of this process with one revision for all keys: items, leases, history.

`commits` is the group commit of any journal, and does not depend on items.
"""

from fastrpc.stores.local.leases import ITEM_LEASE
from fastrpc.stores.local.observing import Creation, StoreObserver
from fastrpc.stores.local.store import LocalStore
from fastrpc.stores.local.uncommitted import Uncommitted

__all__ = ["ITEM_LEASE", "Creation", "LocalStore", "StoreObserver", "Uncommitted"]
