"""Names of classes in a description, and types as source with these names.

Two classes with the same name become `Item` and `Item2`, as in OpenAPI. If a class of the program has the name of a
library's type, the class keeps the name and the library's type is written with its module: `datetime.date`.
"""

import re
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from fastrpc.rpc.schema.annotation import DEEPEST, FIELD_MARKS, UNANNOTATED, type_text, unaliased
from fastrpc.rpc.schema.payload_classes import PayloadClass
from fastrpc.types.floats import Float32

__all__ = ["BUILTIN", "KEYWORDS", "TypeNames", "class_name", "module_of"]

#: Types that need no import.
BUILTIN: Final = frozenset(
    [
        "bool",
        "bytearray",
        "bytes",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "memoryview",
        "object",
        "set",
        "str",
        "tuple",
        "None",
        "...",
    ]
)
#: Words that cannot be the name of a class, because a description uses them in their usual meaning.
KEYWORDS: Final = BUILTIN | frozenset(
    ["Annotated", "Any", "AsyncIterator", "Field", "Float32", "Literal", "Meta", "Optional", "Union"]
)
#: Names that no class may have. A class with such a name gets a number appended.
_WORDS: Final = KEYWORDS | {"fastrpc", "msgspec"}
_NOT_IN_NAMES: Final = re.compile(r"\W+", re.ASCII)

#: The constraints of msgspec, which a value must meet.
_CONSTRAINTS: Final = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")


def class_name(annotation: Any) -> str:
    """Return the name of a class with the names of its type arguments: `Box_int`."""
    arguments = [one for one in get_args(annotation) if not isinstance(one, list)]
    owner = get_origin(annotation) or annotation
    if owner is Annotated:
        return class_name(arguments[0])
    # Whether a union is a class depends on the version of Python.
    if not isinstance(owner, type) or owner in {Union, types.UnionType}:
        return _NOT_IN_NAMES.sub("_", type_text(annotation))
    return "_".join((owner.__name__, *map(class_name, arguments)))


class TypeNames:
    """The names of the classes in a description."""

    def __init__(self, classes: Iterable[PayloadClass]) -> None:
        self._names: dict[Any, str] = {}
        self._taken = set(_WORDS)
        for one in classes:
            base = _NOT_IN_NAMES.sub("_", one.cls.__name__).lstrip("0123456789_") or "Type"
            name, number = base, 2
            while name in self._taken:
                name, number = f"{base}{number}", number + 1
            self._taken.add(name)
            self._names[one.cls] = name

    def of_class(self, cls: Any) -> str:
        """Return the name of a class."""
        known = self._names.get(cls)
        if known is not None:
            return known
        name = str(getattr(cls, "__name__", cls))
        return f"{module_of(cls)}.{name}" if name in self._taken - _WORDS else name

    def text(self, annotation: Any, *, with_constraints: bool = False) -> str:
        """Return a type as source, without modules.

        Args:
            with_constraints: keep the constraints of `msgspec.Meta` and of `Field`.
        """
        return _Text(self, with_constraints).of(annotation, 0)


class _Text:
    """Writes types."""

    def __init__(self, names: TypeNames, with_constraints: bool) -> None:
        self._names = names
        self._with_constraints = with_constraints

    def of(self, annotation: Any, depth: int) -> str:
        if annotation is UNANNOTATED or annotation is Any or depth == DEEPEST:
            return "Any"
        if annotation is None or annotation is type(None):
            return "None"
        if annotation is Ellipsis:
            return "..."
        if isinstance(annotation, str):
            return annotation
        if isinstance(annotation, typing.ForwardRef):
            return annotation.__forward_arg__
        if isinstance(annotation, typing.NewType):
            return self.of(annotation.__supertype__, depth + 1)
        named = unaliased(annotation)
        if named is not annotation:
            return self.of(named, depth + 1)
        return self._composed(annotation, get_origin(annotation), get_args(annotation), depth)

    def _composed(self, annotation: Any, origin: Any, arguments: tuple[Any, ...], depth: int) -> str:
        if origin in {Union, types.UnionType}:
            return " | ".join(dict.fromkeys(self.of(argument, depth) for argument in arguments))
        if origin is Literal:
            return f"Literal[{', '.join(repr(argument) for argument in arguments)}]"
        if origin is Annotated:
            inner = self.of(arguments[0], depth)
            found = _constraints(annotation.__metadata__) if self._with_constraints else ()
            return f"Annotated[{', '.join((inner, *found))}]" if found else inner
        if origin in FIELD_MARKS:
            return self.of(arguments[0], depth)
        if origin is None:
            return self._names.of_class(annotation)
        if not arguments:
            is_empty = origin is tuple and annotation is not tuple
            return "tuple[()]" if is_empty else self._names.of_class(origin)
        inner = ", ".join(self._argument(argument, depth) for argument in arguments)
        return f"{self._names.of_class(origin)}[{inner}]"

    def _argument(self, argument: Any, depth: int) -> str:
        if isinstance(argument, list | tuple):
            return f"[{', '.join(self._argument(one, depth) for one in argument)}]"
        return self.of(argument, depth + (unaliased(argument) is not argument))


def module_of(kind: Any) -> str:
    """Return the module from which programs import a class: CPython 3.13 defines paths in `pathlib._local`."""
    module = str(getattr(kind, "__module__", ""))
    return "pathlib" if module == "pathlib._local" else module


def _constraints(metadata: tuple[Any, ...]) -> tuple[str, ...]:
    # Imported here, because once this module is loaded, every new service is searched for `Field`.
    from fastrpc.rpc.protobuf.field import field_in

    found: dict[str, Any] = {}
    for one in metadata:
        if type(one).__name__ == "Meta" and type(one).__module__ == "msgspec":
            found |= {name: value for name in _CONSTRAINTS if (value := getattr(one, name)) is not None}
    meta = f"Meta({', '.join(f'{name}={value!r}' for name, value in found.items())})" if found else ""
    field = field_in(metadata)
    return tuple(
        filter(
            None,
            (
                "Float32" if any(one is Float32 for one in metadata) else "",
                meta,
                "" if field is None else repr(field),
            ),
        )
    )
