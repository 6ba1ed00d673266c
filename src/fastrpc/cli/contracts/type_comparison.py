"""Compare the types of two descriptions: which values one accepts and the other does not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastrpc.cli.contracts.type_tree import ANY, ELLIPSIS, TypeTree, read_type, substituted
from fastrpc.rpc.described_services import ClassDescription, FieldDescription

__all__ = ["Types", "differences"]

#: Types that are sent as an array of items of one type.
_ARRAYS: Final = frozenset(
    {
        *("list", "set", "frozenset", "Sequence", "MutableSequence", "Collection", "Set", "MutableSet"),
        *("AbstractSet", "deque", "tuple"),
    }
)
_MAPS: Final = frozenset({"dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict", "Counter"})
#: Types with the same encoding as another type.
_ALIKE: Final = {"bytearray": "bytes", "memoryview": "bytes", "Raw": "Any"}
#: Depth to which nested classes are compared, since a server may describe any depth.
_DEEPEST: Final = 50
_LITERALS: Final[dict[type, str]] = {str: "str", int: "int", bool: "bool", bytes: "bytes"}
#: Texts for defaults that a description does not show.
_UNKNOWN: Final = frozenset({"...", "UNSET"})

Types = Mapping[str, ClassDescription]


class _Comparison:
    """Compares types of two sides, each with its classes."""

    def __init__(self, given: Types, expected: Types, *, keeps_all: bool) -> None:
        self._given = given
        self._expected = expected
        #: Whether a given field that is not expected is a mismatch, since its value would be lost.
        self._keeps_all = keeps_all
        self._seen: set[tuple[TypeTree, TypeTree]] = set()
        #: The differences that break no caller.
        self.notes: dict[str, None] = {}
        #: The classes that surround the compared class.
        self._inside: list[str] = []

    def trees(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        given, expected = _plain(given), _plain(expected)
        if expected == ANY or (given == ANY and self._is_opaque(expected)):
            return
        if "Annotated" in {given.name, expected.name}:
            yield from self._constrained(given, expected)
        elif "?" in {given.name, expected.name}:
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

    def _is_opaque(self, expected: TypeTree) -> bool:
        """Return whether a contract writes a type as Any, as its values have a special encoding."""
        described = self._expected.get(expected.name)
        return described is not None and described.kind in {"protobuf", "opaque"}

    def _constrained(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        """Compare types with constraints: each constraint of `expected` must follow from constraints of `given`."""
        inner, has = _taken_apart(given)
        wanted, needs = _taken_apart(expected)
        if inner.name == "|" or wanted.name == "|":
            has = needs = {}
        yield from self.trees(inner, wanted)
        if inner.name == "Literal":
            return
        for name, limit in needs.items():
            if not _follows(name, limit, has):
                yield f"not every {given} has {name}={limit!r}"

    def _single(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        """Compare two types that are not unions."""
        if given.name in self._given and expected.name in self._expected:
            yield from self._classes(given, expected)
        elif (is_fixed(given) or given.name in _ARRAYS) and (is_fixed(expected) or expected.name in _ARRAYS):
            yield from self._arrays(given, expected)
        elif {given.name, expected.name} <= _MAPS:
            yield from self._arguments(_map_arguments(given), _map_arguments(expected))
        elif (given.name, expected.name) == ("int", "float"):
            return
        elif given.name != expected.name or (
            expected.arguments and len(given.arguments) not in {0, len(expected.arguments)}
        ):
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
        # `list` without arguments is a list of any items.
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
            if part != ELLIPSIS:
                yield from self.trees(part, item)

    def _classes(self, given: TypeTree, expected: TypeTree) -> Iterator[str]:
        if (given, expected) in self._seen:
            return
        self._seen.add((given, expected))
        if len(self._inside) == _DEEPEST:
            yield f"{given} is nested too deeply in {self._inside[0]} to be compared"
            return
        self._inside.append(given.name)
        before = _with_arguments(self._given[given.name], given)
        yield from self._members(before, _with_arguments(self._expected[expected.name], expected))
        self._inside.pop()

    def _members(self, given: "_Class", expected: "_Class") -> Iterator[str]:
        before, after = given.described, expected.described
        self._note_options(before, after)
        if before.kind == after.kind == "protobuf":
            if before.options.get("message") != after.options.get("message"):
                yield f"{before.name} is not the message {after.name}"
            return
        if "opaque" in {before.kind, after.kind}:
            if (before.name, before.kind) != (after.name, after.kind):
                yield _different(TypeTree(before.name), TypeTree(after.name))
        elif (before.kind == "enum") != (after.kind == "enum") or _is_array(before) != _is_array(after):
            yield f"{before.name} is a {_kind_text(before)}, not a {_kind_text(after)}"
        elif before.kind == "enum":
            taken = set(after.values.values())
            for name, value in before.values.items():
                if value not in taken:
                    yield f"{after.name} has no {name} ({value!r})"
        elif _tag(before) != _tag(after):
            yield f"{before.name} has the tag {_tag(before)}, {after.name} has {_tag(after)}"
        elif _is_array(before):
            yield from self._positions(given, expected)
        else:
            yield from self._fields(given, expected)

    def _note_options(self, given: ClassDescription, expected: ClassDescription) -> None:
        """Note differences that code can notice: `frozen`, `order`, `unsafe_hash`, the base class of an enum."""
        if given.kind != expected.kind:
            return
        for name in ("frozen", "order", "unsafe_hash", "enum"):
            before, after = given.options.get(name), expected.options.get(name)
            if before != after:
                self._note(f"{given.name}: {name}", before, after)

    def _note(self, what: str, given: Any, expected: Any) -> None:
        before, after = (given, expected) if self._keeps_all else (expected, given)
        self.notes[f"{what} was {before}, now it is {after}"] = None

    def _fields(self, given: "_Class", expected: "_Class") -> Iterator[str]:
        before, after = given.described, expected.described
        there = {_wire_name(field): field for field in before.fields}
        taken = {_wire_name(field) for field in after.fields}
        for field in after.fields:
            source = there.get(_wire_name(field))
            if source is None:
                if field.required:
                    yield f"{after.name}.{field.name} is required, {before.name} has no such field"
                continue
            if field.required and not source.required and _may_omit(before):
                yield f"{after.name}.{field.name} is required, in {before.name} it may be left out"
            yield from self._field(source, field, given, expected)
        if self._keeps_all or after.options.get("forbid_unknown_fields"):
            for name, field in there.items():
                if name not in taken:
                    yield _lost(f"{before.name}.{field.name}", after)

    def _positions(self, given: "_Class", expected: "_Class") -> Iterator[str]:
        before, after = given.described, expected.described
        for source, field in zip(before.fields, after.fields, strict=False):
            if source.name != field.name:
                yield f"{before.name}.{source.name} arrives as {after.name}.{field.name}"
            yield from self._field(source, field, given, expected)
        for field in after.fields[len(before.fields) :]:
            if field.required:
                yield f"{after.name}.{field.name} is required, {before.name} has no such field"
        for field in before.fields[len(after.fields) :]:
            yield _lost(f"{before.name}.{field.name}", after)

    def _field(
        self, source: FieldDescription, field: FieldDescription, given: "_Class", expected: "_Class"
    ) -> Iterator[str]:
        owner = expected.described.name
        before = substituted(read_type(source.exact), given.variables)
        after = substituted(read_type(field.exact), expected.variables)
        for text in self.trees(before, after):
            yield f"{owner}.{field.name}: {text}"
        # A default that cannot be written may be described as unknown.
        if source.default != field.default and not {source.default, field.default} <= _UNKNOWN:
            self._note(f"{owner}.{field.name}: the default", source.default, field.default)
        if source.kw_only != field.kw_only and given.described.kind == expected.described.kind:
            self._note(f"{owner}.{field.name}: by name alone", source.kw_only, field.kw_only)


class _Class(NamedTuple):
    """A class with the types of its variables."""

    described: ClassDescription
    variables: Mapping[str, TypeTree]


def _with_arguments(described: ClassDescription, tree: TypeTree) -> _Class:
    fallbacks = {name: read_type(text) for name, text in described.parameters.items()}
    return _Class(described, fallbacks | dict(zip(described.parameters, tree.arguments, strict=False)))


def differences(
    given: str, given_types: Types, expected: str, expected_types: Types, *, keeps_all: bool
) -> tuple[list[str], list[str]]:
    """Return the mismatches (values of type `given` that `expected` does not accept), and the other differences.

    Args:
        keeps_all: whether a given field that is not expected is a mismatch, since its value is lost.
    """
    comparison = _Comparison(given_types, expected_types, keeps_all=keeps_all)
    found = list(dict.fromkeys(comparison.trees(read_type(given), read_type(expected))))
    return found, list(comparison.notes)


def _plain(tree: TypeTree) -> TypeTree:
    name = _ALIKE.get(tree.name)
    return tree if name is None else TypeTree(name, tree.arguments)


def _taken_apart(tree: TypeTree) -> tuple[TypeTree, dict[str, Any]]:
    """Return a type without its constraints, and the constraints; `Field` is not a constraint."""
    if tree.name != "Annotated":
        return tree, {}
    inner, has = _taken_apart(tree.arguments[0])
    metas = [meta for meta in tree.arguments[1:] if meta.name != "Field"]
    return inner, has | {name: value for meta in metas for name, value in meta.arguments}


def _follows(name: str, limit: Any, has: Mapping[str, Any]) -> bool:
    """Return whether a constraint follows from the constraints that values meet."""
    value = has.get(name)
    if name in {"ge", "gt", "le", "lt"}:
        # An exclusive bound may imply an inclusive one on the same side, and an inclusive bound an exclusive one.
        other = has.get({"ge": "gt", "gt": "ge", "le": "lt", "lt": "le"}[name])
        sign = 1 if name[0] == "g" else -1
        same = value is not None and sign * value >= sign * limit
        return bool(same or (other is not None and sign * other > sign * limit))
    if value is None:
        return False
    if name == "multiple_of":
        return bool(limit != 0 and value % limit == 0)
    return bool(
        value >= limit if name == "min_length" else value <= limit if name == "max_length" else value == limit
    )


def _map_arguments(tree: TypeTree) -> tuple[TypeTree, ...]:
    """Return the types of keys and values; a Counter has only a type of keys."""
    return (
        (*tree.arguments, TypeTree("int"))
        if tree.name == "Counter" and len(tree.arguments) == 1
        else tree.arguments
    )


def is_fixed(tree: TypeTree) -> bool:
    """Whether it is a tuple of a fixed length."""
    return tree.name == "tuple" and bool(tree.arguments) and ELLIPSIS not in tree.arguments


def _different(given: TypeTree, expected: TypeTree) -> str:
    return f"not every {given} is {expected}"


def _lost(field: str, after: ClassDescription) -> str:
    """Return the text about a field that the other side lacks, with the effect on its value."""
    is_refused = after.kind == "named_tuple" or after.options.get("forbid_unknown_fields")
    return f"{field} is gone: its value is {'refused' if is_refused else 'ignored'}"


def _is_array(described: ClassDescription) -> bool:
    return described.kind == "named_tuple" or bool(described.options.get("array_like"))


def _kind_text(described: ClassDescription) -> str:
    return (
        "enum" if described.kind == "enum" else "row of values" if _is_array(described) else "map of fields"
    )


def _may_omit(described: ClassDescription) -> bool:
    """Return whether a payload may omit fields that are not required."""
    return described.kind == "typed_dict" or bool(described.options.get("omit_defaults"))


def _tag(described: ClassDescription) -> Any:
    tag = described.options.get("tag")
    if not tag:
        return None
    return described.options.get("tag_field", "type"), described.name if tag is True else tag


def _wire_name(field: FieldDescription) -> str:
    return field.wire_name or field.name
