"""Parts that are built from clients and servers: typed key-value stores, locks, the embedded registry.

This package may import every package of a lower rank than the command line, except `files` and `testing`.

A store has a backend of the package `stores`. `store_urls.py` finds the backend, and `store.py` adds types, deadlines
and repeats. The parts that all hosted services share are in `hosted`.

`registry/` is a service that clients call, so it ranks above client and server; `registries/base/urls.py` refers to it
only by name. A watch returns the list of instances when it differs from the list that the cursor stands for: as a
stream (`follow`), or as a call that waits (`watch`) for languages without streams. Between two streams or calls the
registry keeps no state of a watcher. Cursors are only compared for equality. They change when the registry's process
restarts, so watchers notice it.
"""

from typing import TYPE_CHECKING

from fastrpc.first_use import names_on_first_use

__all__ = [
    "Change",
    "Changes",
    "Delete",
    "Following",
    "Holder",
    "Item",
    "ItemList",
    "Lock",
    "Mirror",
    "Outcome",
    "Put",
    "RegistryServer",
    "RegistryService",
    "Store",
    "StoreLease",
    "StoreServer",
    "StoreService",
    "absent",
    "current_store",
    "deimos_app",
    "open_store",
    "unchanged",
]

if TYPE_CHECKING:
    from fastrpc.coordination.changes import Change, Changes
    from fastrpc.coordination.deimos.application import deimos_app
    from fastrpc.coordination.lease import StoreLease
    from fastrpc.coordination.locks import Holder, Lock
    from fastrpc.coordination.mirror import Mirror
    from fastrpc.coordination.registry.server import RegistryServer
    from fastrpc.coordination.registry.service import RegistryService
    from fastrpc.coordination.remote.server import StoreServer
    from fastrpc.coordination.remote.service import StoreService
    from fastrpc.coordination.schedules import current_store
    from fastrpc.coordination.settings import Following
    from fastrpc.coordination.store import (
        Delete,
        ItemList,
        Outcome,
        Put,
        Store,
        absent,
        open_store,
        unchanged,
    )
    from fastrpc.stores.base import Item
else:  # Type checkers would accept any attribute name.
    __getattr__ = names_on_first_use(
        __name__,
        {
            "changes": "Change Changes",
            "deimos.application": "deimos_app",
            "lease": "StoreLease",
            "locks": "Holder Lock",
            "mirror": "Mirror",
            "registry.server": "RegistryServer",
            "registry.service": "RegistryService",
            "schedules": "current_store",
            "settings": "Following",
            "store": "Delete Item ItemList Outcome Put Store absent open_store unchanged",
            "remote.server": "StoreServer",
            "remote.service": "StoreService",
        },
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
