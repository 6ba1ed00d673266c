"""Modules that are imported when a program first uses them.

A package names an object of a higher-ranked package by a group and a name, never by its module. The top package
registers the modules for these names (`fastrpc/__init__.py`); a package may also register its own modules.
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

#: Held by the constructors of `Client`, `SyncClient` and `Server`, because the first constructor of each class imports
#: the modules of its parts. A fork waits for this lock: otherwise the child could find locks of half-imported modules
#: held by a thread that exists only in the parent.
PARTS = threading.RLock()
os.register_at_fork(before=PARTS.acquire, after_in_parent=PARTS.release, after_in_child=PARTS.release)

_parts: list[str] = []

_places: dict[str, dict[str, str]] = {}


def has_parts(module: str) -> None:
    """Register the module with the parts of a class, which the class's constructor imports."""
    _parts.append(module)


def import_parts() -> None:
    """Import the parts of the clients and servers that the program has imported, before it forks.

    The children share this memory. They also need not import the parts later, when another version may be installed.
    """
    for module in tuple(_parts):
        import_module(module)


def register(group: str, modules: Mapping[str, str]) -> None:
    """Add objects to a group. An object's module is imported when the object is first used.

    Args:
        modules: for each name `module:attribute`.
    """
    _places.setdefault(group, {}).update(modules)


def places(group: str) -> Mapping[str, str]:
    """Return the objects of a group as `module:attribute`, in a mapping that also shows later additions."""
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
        modules: for each module of the package the names that it defines, separated by spaces.
    """
    module_of = {name: module for module, names in modules.items() for name in names.split()}

    def imported(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # From now on it is a plain attribute.
        return value

    return imported
