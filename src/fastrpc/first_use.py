"""Modules that are imported when a program first uses them: those of names, and those of an object's parts."""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["PARTS", "import_parts", "names_on_first_use"]

#: Held by the constructors of `Client`, `SyncClient` and `Server`: the first ones import the modules of their parts. A
#: fork waits for it: its child would find the locks of half-imported modules held by a thread that it does not have.
PARTS = threading.RLock()
os.register_at_fork(before=PARTS.acquire, after_in_parent=PARTS.release, after_in_child=PARTS.release)

_PARTS_OF = {
    "fastrpc.client.client": "fastrpc.client.parts",
    "fastrpc.client.blocking.client": "fastrpc.client.blocking.parts",
    "fastrpc.server.server": "fastrpc.server.parts",
}


def import_parts() -> None:
    """Import the parts of the clients and servers that the program has imported, before it forks.

    Its children share their memory, and none imports them later, when other code may be installed.
    """
    for owner, parts in _PARTS_OF.items():
        if owner in sys.modules:
            import_module(parts)


def names_on_first_use(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    Args:
        modules: for each module of the package the names that it defines, divided by spaces.
    """
    module_of = {name: module for module, names in modules.items() for name in names.split()}

    def imported(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # From now on it is a plain attribute.
        return value

    return imported
