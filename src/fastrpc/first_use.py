"""Modules that are imported when a program first uses them.

A package that uses an object of a package of higher rank names the object by a group and a name, never by its module.
The top package registers the modules (`fastrpc/__init__.py`), as a package registers its own modules.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = [
    "PARTS",
    "has_parts",
    "import_parts",
    "load",
    "names_on_first_use",
    "places",
    "register",
    "registered",
]

#: Held by the constructors of `Client`, `SyncClient` and `Server`: the first ones import the modules of their parts. A
#: fork waits for this lock: otherwise the child could find locks of half-imported modules held by a thread that exists
#: only in the parent.
PARTS = threading.RLock()
os.register_at_fork(before=PARTS.acquire, after_in_parent=PARTS.release, after_in_child=PARTS.release)

_parts: list[str] = []

_places: dict[str, dict[str, str]] = {}


def has_parts(module: str) -> None:
    """Note the module of the parts of a class, which the constructor of the class imports."""
    _parts.append(module)


def import_parts() -> None:
    """Import the parts of the clients and servers that the program has imported, before it forks.

    The children share this memory, and none of them imports the parts later, when other code may be installed.
    """
    for module in tuple(_parts):
        import_module(module)


def register(group: str, modules: Mapping[str, str]) -> None:
    """Add objects to a group; their modules are imported when one is first used.

    Args:
        modules: for each name `module:attribute`.
    """
    _places.setdefault(group, {}).update(modules)


def places(group: str) -> Mapping[str, str]:
    """Return the objects of a group, each as `module:attribute`, in a mapping that also shows later ones."""
    return _places.setdefault(group, {})


def registered(group: str, name: str) -> Any:
    """Return an object of a group.

    Raises:
        KeyError: the group has no such name.
    """
    return load(_places[group][name])


def load(place: str) -> Any:
    """Return the object at `module:attribute`."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


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
