"""Python names for the parts of a schema. Where a Python name differs, protobuf's name is declared next to it."""

import keyword
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from fastrpc.cli.contracts.imported_names import ImportedNames
from fastrpc.rpc.aliases import pascal_name
from fastrpc.rpc.protobuf.names import NAMES_OF_ENUMS, snake
from fastrpc.rpc.schema.type_names import BUILTIN

__all__ = ["Naming", "enum_prefix", "method_names", "python_names"]
#: Names that no class may have. The first line of the module imports `annotations`.
_TAKEN: Final = BUILTIN | {"annotations"}
#: Names that annotations and decorators of methods may use.
_USED: Final = BUILTIN | {"datetime", "method", "timedelta"}


class Naming:
    """The names of one module.

    Args:
        types: the messages and enums at the top level of files.
        services: the services.
    """

    def __init__(self, types: Iterable[Any], services: Iterable[Any]) -> None:
        #: The names of classes by the full names of messages and enums; a nested class is `Outer.Inner`.
        self.classes: dict[str, str] = {}
        self.fields: dict[str, dict[str, str]] = {}
        self.members: dict[str, dict[str, str]] = {}
        #: Enums whose members keep their full names.
        self.plain_enums: set[str] = set()
        self._services: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        taken = set(BUILTIN)
        for one in types:
            self._add(one, "", taken)
        for service in services:
            self._services[service.full_name] = _free(_identifier(service.name), taken)
        self.imported = ImportedNames(taken, BUILTIN)

    def service(self, descriptor: Any) -> str:
        """Return the name of the class of a service."""
        return self._services[descriptor.full_name]

    def reference(self, descriptor: Any, hidden: Collection[str]) -> str:
        """Return the name of a class for an annotation, at a place where some names are hidden."""
        name = self.classes[descriptor.full_name]
        first, dot, rest = name.partition(".")
        if first not in hidden:
            return name
        if first not in self._aliases:
            self._aliases[first] = self.imported.free(f"{first}_type")
        return f"{self._aliases[first]}{dot}{rest}"

    def aliases(self) -> list[str]:
        """Return the lines that give classes a second name."""
        return [f"{alias} = {name}" for name, alias in self._aliases.items()]

    def is_taken(self, name: str) -> bool:
        """Return whether a name means something in this module."""
        return name in self.imported or name in _USED

    def is_renamed(self, descriptor: Any) -> bool:
        """Return whether a class has a name that differs from its message or enum."""
        return self.classes[descriptor.full_name].rpartition(".")[2] != str(descriptor.name)

    def _add(self, descriptor: Any, place: str, taken: set[str]) -> None:
        name = _free(_identifier(descriptor.name), taken)
        path = self.classes[descriptor.full_name] = f"{place}{name}"
        if hasattr(descriptor, "values"):
            self._add_members(descriptor)
            return
        inner: set[str] = set()
        nested = [*descriptor.nested_types, *descriptor.enum_types]
        for one in nested:
            if not (hasattr(one, "fields") and one.GetOptions().map_entry):
                self._add(one, f"{path}.", inner)
        names = self.fields[descriptor.full_name] = {}
        # Names that stay unchanged come first.
        for field in sorted(descriptor.fields, key=lambda one: _attribute(one.name) != one.name):
            names[field.name] = _free(_attribute(field.name), inner)

    def _add_members(self, descriptor: Any) -> None:
        prefix = enum_prefix(descriptor.name)
        names = [value.name for value in descriptor.values]
        short = [name.removeprefix(prefix) for name in names]
        if all(name.startswith(prefix) for name in names) and all(map(_is_short, short)):
            self.members[descriptor.full_name] = dict(zip(names, short, strict=True))
            return
        self.plain_enums.add(descriptor.full_name)
        taken: set[str] = set()
        self.members[descriptor.full_name] = {name: _free(_member(name), taken) for name in names}


def enum_prefix(name: str) -> str:
    """Return the common prefix of the names of an enum's values."""
    return f"{snake(name).upper()}_"


def method_names(service: Any) -> Mapping[str, str] | None:
    """Return the methods' Python names if `grpc="pascal"` derives the file's names from them; else None."""
    found = {method.name: snake(method.name) for method in service.methods}
    found[service.name] = snake(service.name)
    is_derived = all(pascal_name(name) == given for given, name in found.items())
    return found if is_derived else None


def python_names(names: Iterable[str], naming: Naming) -> Iterator[str]:
    """Yield Python names for the methods of a class; a name that would hide another one gets a "_"."""
    taken: set[str] = set()
    for given in names:
        name = _identifier(snake(given))
        while naming.is_taken(name):
            name += "_"
        yield _free(name, taken)


def _is_short(name: str) -> bool:
    """Return whether the full name of an enum member can be derived from this short name."""
    return name.isidentifier() and not _is_of_enums(name) and snake(name).upper() == name


def _member(name: str) -> str:
    return f"{name}_" if _is_of_enums(name) else name


def _is_of_enums(name: str) -> bool:
    is_private = name.startswith("_") and name.endswith("_")
    return keyword.iskeyword(name) or name in NAMES_OF_ENUMS or name.startswith("__") or is_private


def _identifier(name: str) -> str:
    """Return a name for a class or a method that hides no type."""
    return f"{name}_" if name in _TAKEN else _attribute(name)


def _attribute(name: str) -> str:
    if name.startswith("__"):
        # Python mangles names in a class that begin with two underscores.
        return f"m{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def _free(name: str, taken: set[str]) -> str:
    base, number = name, 2
    while name in taken:
        name, number = f"{base}{number}", number + 1
    taken.add(name)
    return name
