"""The names in the source of a contract: its classes, its imports, and the types written with them.

A class of the server keeps its name. If a class is called `date`, the import becomes `from datetime import date as
date_type`. A type that a field of the same name would hide gets an alias, too.
"""

import keyword
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from fastrpc.cli.contracts.imported_names import ImportedNames
from fastrpc.cli.contracts.type_tree import TypeTree
from fastrpc.rpc.described_services import ClassDescription
from fastrpc.rpc.schema.type_names import BUILTIN, KEYWORDS

__all__ = ["Names", "is_name", "literal", "names_in"]

#: Types of the values of arrays.
_ARRAY_VALUES: Final = (
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "complex64", "complex128", "datetime64", "timedelta64"),
    *("number", "integer", "signedinteger", "unsignedinteger", "inexact", "floating", "complexfloating"),
    *("bool_", "longlong", "ulonglong", "generic", "character"),
)
#: Types that need an import, with their modules.
_MODULES: Final = {
    **dict.fromkeys(("date", "datetime", "time", "timedelta", "timezone"), "datetime"),
    "Decimal": "decimal",
    "UUID": "uuid",
    **dict.fromkeys(
        (
            *(
                "AsyncIterator",
                "Collection",
                "Iterator",
                "Mapping",
                "MutableMapping",
                "MutableSequence",
                "MutableSet",
            ),
            *("Sequence", "Set"),
        ),
        "collections.abc",
    ),
    **dict.fromkeys(("deque", "defaultdict", "Counter", "OrderedDict"), "collections"),
    **dict.fromkeys(("Annotated", "Any", "Literal"), "typing"),
    **dict.fromkeys(("Path", "PurePath", "PurePosixPath", "PureWindowsPath", "PosixPath"), "pathlib"),
    **dict.fromkeys(
        (f"IPv{version}{kind}" for version in "46" for kind in ("Address", "Interface", "Network")),
        "ipaddress",
    ),
    **dict.fromkeys(("ndarray", "dtype", *_ARRAY_VALUES), "numpy"),
    **dict.fromkeys(("Raw", "UnsetType"), "msgspec"),
}
#: Names of types in descriptions, with the name that is written instead.
_SAME: Final = {"AbstractSet": "Set", "WindowsPath": "PureWindowsPath"}

_WORD: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
#: Modules that protoc generates.
_GENERATED: Final = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*_pb2", re.ASCII)


class Names:
    """The names of one module.

    Args:
        classes: the classes that the module defines, by name.
    """

    def __init__(self, classes: Mapping[str, ClassDescription]) -> None:
        self.classes = dict(classes)
        #: The differences between the written source and the server, each with the place where it occurs.
        self.warnings: dict[str, None] = {}
        own = (name for name, one in classes.items() if one.kind != "protobuf")
        self._imported = ImportedNames({*own, *KEYWORDS, "fastrpc", "msgspec"}, KEYWORDS)
        #: Aliases of classes of this module, by class.
        self._aliases: dict[str, str] = {}
        self._variables: dict[tuple[str, str], str] = {}
        self._place = ""

    # Names

    def free(self, name: str, suffix: str = "_") -> str:
        """Reserve a name that is not in use, and return it."""
        return self._imported.free(name, suffix)

    def use(self, name: str, module: str, hidden: Collection[str] = ()) -> str:
        """Import a name; return its name here.

        Args:
            hidden: names that mean something else at that place.
        """
        return self._imported.use(name, module, hidden)

    def imports(self) -> list[str]:
        """Return the lines that import everything used."""
        return [f"from {module} import {', '.join(names)}" for module, names in self._imported.by_module()]

    def aliases(self) -> list[str]:
        """Return the lines that give classes of this module a second name."""
        return [f"{alias} = {name}" for name, alias in self._aliases.items()]

    def variable(self, name: str, bound: str) -> tuple[str, bool]:
        """Return the name of a type variable with this bound, and whether it is new."""
        known = self._variables.get((name, bound))
        if known is not None:
            return known, False
        self._variables[name, bound] = found = self.free(name if is_name(name) else "T", "2")
        return found, True

    def is_type(self, name: str) -> bool:
        """Return whether a name means a type in this module."""
        return name in self._imported or name in _MODULES

    # Warnings

    def at(self, place: str) -> None:
        """Set the place for the next warnings."""
        self._place = place

    def warn(self, text: str) -> None:
        self.warnings[f"{self._place}: {text}"] = None

    # Types

    def type(
        self, tree: TypeTree, variables: Mapping[str, str] | None = None, hidden: Collection[str] = ()
    ) -> str:
        """Write a type that consists of known names; for any other, write Any with a warning.

        Args:
            variables: the type variables of the surrounding class, with their names here.
            hidden: names that mean something else in the surrounding class.
        """
        return _TypeWriter(self, variables or {}, hidden).written(tree)

    def class_name(self, name: str, hidden: Collection[str]) -> str:
        """Return a name of a class of this module at a place where some names are hidden."""
        if name not in hidden:
            return name
        if name not in self._aliases:
            self._aliases[name] = self.free(f"{name}_type")
        return self._aliases[name]

    def library(self, name: str, hidden: Collection[str] = ()) -> str | None:
        """Import a type of a library; return its name here, or None if the type is unknown."""
        plain = _SAME.get(name.rpartition(".")[2], name.rpartition(".")[2])
        module = _MODULES.get(plain)
        if module is None or (
            "." in name and name.rpartition(".")[0] != module.partition(".")[0] != "collections"
        ):
            return None
        return self.use(plain, module, hidden)

    def message(self, described: ClassDescription, hidden: Collection[str]) -> str | None:
        """Import the class of a protobuf message from the module that protoc wrote; None if there is no such module."""
        module = str(described.options.get("module", ""))
        name = str(described.options.get("message", "")).rpartition(".")[2]
        if _GENERATED.fullmatch(module) is None or not is_name(name):
            return None
        if not module.startswith("google.protobuf."):
            self.warn(
                f"{name} is a protobuf message: the contract imports it from {module}, which protoc writes"
            )
        return self.use(name, module, hidden)


class _TypeWriter:
    """Writes types in one place."""

    def __init__(self, names: Names, variables: Mapping[str, str], hidden: Collection[str]) -> None:
        self._names = names
        self._variables = variables
        self._hidden = hidden

    def written(self, tree: TypeTree) -> str:
        match tree.name:
            case "|":
                return self._union(tree)
            case "Literal":
                return f"{self._imported('Literal')}[{', '.join(map(literal, tree.arguments))}]"
            case "Annotated":
                inner, *constraints = tree.arguments
                found = [text for one in constraints if (text := _constraint(one)) is not None]
                if not found:
                    return self.written(inner)
                return f"{self._imported('Annotated')}[{', '.join((self.written(inner), *found))}]"
            case "()":
                return "()"
            case "msgspec.UnsetType":
                return tree.name
            case "Any" | "object":
                return self._imported("Any")
        if tree.name in self._variables:
            return self._variables[tree.name]
        described = self._names.classes.get(tree.name)
        if described is not None:
            return self._class(tree, described)
        if tree.name in BUILTIN:
            name = (
                self._names.use(tree.name, "builtins", self._hidden)
                if tree.name in self._hidden
                else tree.name
            )
            return f"{name}{self._arguments(tree)}"
        imported = self._names.library(tree.name, self._hidden)
        return self._any(tree) if imported is None else f"{imported}{self._arguments(tree)}"

    def _union(self, tree: TypeTree) -> str:
        choices = [self.written(choice) for choice in tree.arguments]
        # Several choices may have the same source, for example Any.
        return " | ".join(dict.fromkeys(choices))

    def _class(self, tree: TypeTree, described: ClassDescription) -> str:
        if described.kind == "protobuf":
            return self._names.message(described, self._hidden) or self._any(tree)
        arguments = self._arguments(tree) if described.parameters else ""
        return f"{self._names.class_name(tree.name, self._hidden)}{arguments}"

    def _arguments(self, tree: TypeTree) -> str:
        return f"[{', '.join(self.written(one) for one in tree.arguments)}]" if tree.arguments else ""

    def _any(self, tree: TypeTree) -> str:
        self._names.warn(f"{tree} cannot be written; it is Any")
        return self._imported("Any")

    def _imported(self, name: str) -> str:
        return self._names.use(name, "typing", self._hidden)


def _constraint(tree: Any) -> str | None:
    if tree == TypeTree("Float32"):
        return "fastrpc.Float32"
    if isinstance(tree, TypeTree) and tree.name == "Field":
        return f"fastrpc.{tree}"
    if not isinstance(tree, TypeTree) or tree.name != "Meta":
        return None
    return f"msgspec.Meta({', '.join(f'{name}={literal(value)}' for name, value in tree.arguments)})"


def names_in(tree: TypeTree) -> Iterator[str]:
    """Yield the names in a type."""
    yield tree.name
    if tree.name not in {"Literal", "Meta", "Field"}:
        for one in tree.arguments:
            if isinstance(one, TypeTree):
                yield from names_in(one)


def mentioned(trees: Iterable[TypeTree], classes: Collection[str]) -> list[str]:
    """Return the classes that types mention, in order."""
    return list(dict.fromkeys(name for tree in trees for name in names_in(tree) if name in classes))


def is_name(text: str) -> bool:
    """Return whether a text is a usable Python identifier."""
    return _WORD.fullmatch(text) is not None and not keyword.iskeyword(text) and not text.startswith("__")


def literal(value: Any) -> str:
    """Write a plain value, or a dict of texts, as an ASCII literal."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(one)}' for key, one in value.items())}}}"
    text = ascii(value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text
