"""Parse types as reflection writes them, and compare which values one accepts and the other does not."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastrpc.cli.descriptions import ClassDescription, FieldDescription

__all__ = ["TypeTree", "mismatches", "read_type"]

#: Types that travel as an array of one type of items.
_ARRAYS: Final = frozenset(
    {"list", "set", "frozenset", "Sequence", "MutableSequence", "Collection", "Set", "AbstractSet", "deque"}
)
_MAPS: Final = frozenset({"dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict", "Counter"})
#: Names of one thing.
_ALIKE: Final = {"object": "Any", "bytearray": "bytes", "memoryview": "bytes"}
#: Depth to which nested classes are compared; a server may describe any depth.
_DEEPEST: Final = 50
_LITERALS: Final[dict[type, str]] = {str: "str", int: "int", bool: "bool", bytes: "bytes"}

Types = Mapping[str, ClassDescription]


class TypeTree(NamedTuple):
    """A type: a name with arguments; `|` with choices, `Literal` with values, `?` with a text that is no type."""

    name: str
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if self.name == "|":
            return " | ".join(map(str, self.arguments))
        if self.name == "?":
            return str(self.arguments[0])
        if self.name == "Literal":
            return f"Literal[{', '.join(map(repr, self.arguments))}]"
        return f"{self.name}[{', '.join(map(str, self.arguments))}]" if self.arguments else self.name


ANY: Final = TypeTree("Any")
_ELLIPSIS: Final = TypeTree("...")


def read_type(text: str) -> TypeTree:
    """Parse a type; an invalid text becomes a tree that equals only the same text."""
    try:
        return _read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return TypeTree("?", (text,))


def _read(node: ast.AST) -> TypeTree:
    match node:
        case ast.Constant(value=None):
            return TypeTree("None")
        case ast.Constant(value=value) if value is ...:
            return _ELLIPSIS
        case ast.Constant(value=str() as text):
            return read_type(text)
        case ast.Name(id=name):
            return TypeTree(_ALIKE.get(name, name))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union(_read(left), _read(right))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            given = ast.literal_eval(choices)
            values = given if isinstance(given, tuple) else (given,)
            if all(value is None or type(value) in _LITERALS for value in values):
                return TypeTree("Literal", values)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _union(_read(inner), TypeTree("None"))
        case ast.Subscript(value=ast.Name(id=name), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            trees = tuple(map(_read, parts))
            return _union(*trees) if name == "Union" else TypeTree(name, trees)
    raise ValueError(f"{ast.dump(node)} is no type")


def _union(*choices: TypeTree) -> TypeTree:
    flat: dict[TypeTree, None] = {}
    for choice in choices:
        flat.update(dict.fromkeys(choice.arguments if choice.name == "|" else (choice,)))
    return TypeTree("|", tuple(flat)) if len(flat) > 1 else next(iter(flat))


class _Comparison:
    """Compares types of two sides, each with the classes it knows."""

    def __init__(self, given: Types, expected: Types, *, keeps_all: bool) -> None:
        self._given = given
        self._expected = expected
        #: Whether a given field that is not expected is a mismatch, as its value would be lost.
        self._keeps_all = keeps_all
        self._seen: set[tuple[str, str]] = set()
        #: The classes around the one that is compared.
        self._inside: list[str] = []

    def trees(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        if expected == ANY:
            return
        if "?" in {given.name, expected.name}:
            if given != expected:
                yield _different(given, expected)
        elif given.name == "|":
            for choice in given.arguments:
                yield from self.trees(choice, expected)
        elif expected.name == "|":
            yield from self._choices(given, expected)
        elif given.name == "Literal":
            yield from self._literals(given, expected)
        else:
            yield from self._single(given, expected)

    def _single(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        """Compare two types that are not unions."""
        if given.name in self._given and expected.name in self._expected:
            yield from self._classes(self._given[given.name], self._expected[expected.name])
        elif (is_fixed(given) or given.name in _ARRAYS) and (is_fixed(expected) or expected.name in _ARRAYS):
            yield from self._arrays(given, expected)
        elif {given.name, expected.name} <= _MAPS:
            yield from self._arguments(given.arguments, expected.arguments)
        elif (given.name, expected.name) == ("int", "float"):
            return
        elif given.name != expected.name or len(given.arguments) != len(expected.arguments):
            yield _different(given, expected)
        else:
            yield from self._arguments(given.arguments, expected.arguments)

    def _choices(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        found = []
        for choice in expected.arguments:
            found = list(self.trees(given, choice))
            if not found:
                return
            if given.name == choice.name:
                yield from found
                return
        yield _different(given, expected)

    def _literals(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        for value in given.arguments:
            is_known = expected.name == "Literal" and any(
                value == other and type(value) is type(other) for other in expected.arguments
            )
            if not is_known and _LITERALS.get(type(value), "None") != expected.name:
                yield f"{value!r} is not one of {expected}"

    def _arguments(self, given: Sequence[TypeTree], expected: Sequence[TypeTree]) -> Iterator[str]:
        # `list` without arguments is a list of anything.
        for position, wanted in enumerate(expected):
            yield from self.trees(given[position] if position < len(given) else ANY, wanted)

    def _arrays(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        if is_fixed(expected):
            if not is_fixed(given) or len(given.arguments) != len(expected.arguments):
                yield _different(given, expected)
                return
            yield from self._arguments(given.arguments, expected.arguments)
            return
        item = expected.arguments[0] if expected.arguments else ANY
        for part in given.arguments or (ANY,):
            if part != _ELLIPSIS:
                yield from self.trees(part, item)

    def _classes(self, given: ClassDescription, expected: ClassDescription) -> Iterator[str]:
        if (given.name, expected.name) in self._seen:
            return
        self._seen.add((given.name, expected.name))
        if len(self._inside) == _DEEPEST:
            yield f"{given.name} is nested too deeply in {self._inside[0]} to be compared"
            return
        self._inside.append(given.name)
        yield from self._members(given, expected)
        self._inside.pop()

    def _members(self, given: ClassDescription, expected: ClassDescription) -> Iterator[str]:
        if (given.kind == "enum") != (expected.kind == "enum") or _is_array(given) != _is_array(expected):
            yield f"{given.name} is a {_kind_text(given)}, not a {_kind_text(expected)}"
        elif given.kind == "enum":
            taken = set(expected.values.values())
            for name, value in given.values.items():
                if value not in taken:
                    yield f"{expected.name} has no {name} ({value!r})"
        elif _tag(given) != _tag(expected):
            yield f"{given.name} has the tag {_tag(given)}, {expected.name} has {_tag(expected)}"
        elif _is_array(given):
            yield from self._positions(given, expected)
        else:
            yield from self._fields(given, expected)

    def _fields(self, given: ClassDescription, expected: ClassDescription) -> Iterator[str]:
        there = {_wire_name(field): field for field in given.fields}
        taken = {_wire_name(field) for field in expected.fields}
        for field in expected.fields:
            source = there.get(_wire_name(field))
            if source is None:
                if field.required:
                    yield f"{expected.name}.{field.name} is required, {given.name} has no such field"
                continue
            if field.required and not source.required and _may_omit(given):
                yield f"{expected.name}.{field.name} is required, in {given.name} it may be left out"
            yield from self._field(source, field, expected)
        if self._keeps_all or expected.options.get("forbid_unknown_fields"):
            for name, field in there.items():
                if name not in taken:
                    yield f"{given.name}.{field.name} is no longer accepted"

    def _positions(self, given: ClassDescription, expected: ClassDescription) -> Iterator[str]:
        for source, field in zip(given.fields, expected.fields, strict=False):
            if source.name != field.name:
                yield f"{given.name}.{source.name} arrives as {expected.name}.{field.name}"
            yield from self._field(source, field, expected)
        for field in expected.fields[len(given.fields) :]:
            if field.required:
                yield f"{expected.name}.{field.name} is required, {given.name} has no such field"
        for field in given.fields[len(expected.fields) :]:
            yield f"{given.name}.{field.name} is no longer accepted"

    def _field(
        self, given: FieldDescription, expected: FieldDescription, owner: ClassDescription
    ) -> Iterator[str]:
        for text in self.trees(read_type(given.type), read_type(expected.type)):
            yield f"{owner.name}.{expected.name}: {text}"


def mismatches(
    given: str, given_types: Types, expected: str, expected_types: Types, *, keeps_all: bool
) -> list[str]:
    """Yield the mismatches: values of type `given` that `expected` does not accept.

    Args:
        keeps_all: a given field that is not expected is a mismatch as well, as its value is lost.
    """
    comparison = _Comparison(given_types, expected_types, keeps_all=keeps_all)
    return list(dict.fromkeys(comparison.trees(read_type(given), read_type(expected))))


def is_fixed(tree: TypeTree) -> bool:
    """Whether it is a tuple of a fixed length."""
    return tree.name == "tuple" and bool(tree.arguments) and _ELLIPSIS not in tree.arguments


def _different(given: TypeTree, expected: TypeTree) -> str:
    return f"not every {given} is {expected}"


def _is_array(described: ClassDescription) -> bool:
    return described.kind == "named_tuple" or bool(described.options.get("array_like"))


def _kind_text(described: ClassDescription) -> str:
    return (
        "enum" if described.kind == "enum" else "row of values" if _is_array(described) else "map of fields"
    )


def _may_omit(described: ClassDescription) -> bool:
    """Whether fields that are not required may be missing in a payload."""
    return described.kind == "typed_dict" or bool(described.options.get("omit_defaults"))


def _tag(described: ClassDescription) -> Any:
    tag = described.options.get("tag")
    if not tag:
        return None
    return described.options.get("tag_field", "type"), described.name if tag is True else tag


def _wire_name(field: FieldDescription) -> str:
    return field.wire_name or field.name
