"""Write the classes of payloads in a contract: dataclasses, Structs, typed dicts, named tuples and enums."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from fastrpc.cli.contracts.defaults import WrittenDefault, written_default
from fastrpc.cli.contracts.names import Names, is_name, literal, mentioned
from fastrpc.cli.contracts.type_tree import TypeTree, read_type
from fastrpc.rpc.described_services import ClassDescription, FieldDescription, ServiceDescription
from fastrpc.rpc.schema.payload_classes import STRUCT_OPTIONS
from fastrpc.rpc.schema.type_names import KEYWORDS

__all__ = ["ClassWriter", "comment", "problem_in", "written_classes"]

#: Kinds of classes that can be written; a server of a later version may have more.
_CLASS_KINDS: Final = frozenset({"dataclass", "struct", "typed_dict", "named_tuple", "enum", "protobuf"})
_RESERVED: Final = KEYWORDS | {"fastrpc", "msgspec"}

_DATACLASS_OPTIONS: Final = ("frozen", "order", "unsafe_hash")
_NOT_IN_NAMES: Final = re.compile(r"\W+", re.ASCII)
#: The base classes of enums, with the type of their values.
_ENUMS: Final = {"IntEnum": int, "StrEnum": str, "IntFlag": int, "Flag": int}


def written_classes(services: Sequence[ServiceDescription]) -> tuple[dict[str, ClassDescription], list[str]]:
    """Return the classes of services by name, and a warning for each class that is left out."""
    found: dict[str, ClassDescription] = {}
    left_out = []
    for service in services:
        for one in service.types:
            if one.kind == "opaque":
                # A later warning names the class where it is used.
                continue
            if one.name in _RESERVED or not is_name(one.name) or one.kind not in _CLASS_KINDS:
                left_out.append(
                    f"{service.name}: {one.name} is a {one.kind} that cannot be written under this name"
                )
            elif found.setdefault(one.name, one) != one:
                left_out.append(
                    f"{service.name}: another class is called {one.name}, too; the first one is written"
                )
    return found, left_out


class ClassWriter:
    """Writes the classes of one module."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._written: set[str] = set()

    def texts(self) -> list[str]:
        """Return the source of each class in dependency order, with type variables first."""
        ordered = [one for one in self._in_order() if one.kind != "protobuf"]
        return [text for one in ordered for text in self._class(one)]

    def _in_order(self) -> list[ClassDescription]:
        """Return the classes in dependency order, as far as such an order exists."""
        classes = self._names.classes
        ordered: dict[str, ClassDescription] = {}
        entered: set[str] = set()
        waiting = list(reversed(classes))
        while waiting:
            name = waiting[-1]
            if name in entered:
                ordered.setdefault(waiting.pop(), classes[name])
                continue
            entered.add(name)
            described = classes[name]
            texts = [*described.parameters.values(), *(one.exact for one in described.fields)]
            waiting += reversed(mentioned(map(read_type, texts), classes))
        return list(ordered.values())

    def _class(self, described: ClassDescription) -> list[str]:
        """Return the source of a class, preceded by its new type variables."""
        self._names.at(described.name)
        body = _Class(described, self._names, self._written)
        variables = body.variables()
        lines = body.lines()
        if lines[-1].endswith(":"):
            lines.append("    pass")
        self._written.add(described.name)
        is_functional = body.is_functional
        problem = problem_in([f"    {line}" for line in lines], [] if is_functional else body.field_names())
        if problem is not None:
            self._names.warn(f"it cannot be written: {comment(problem)}; it is Any")
            found = self._names.use("Any", "typing")
            return [f"{described.name} = {found}  # it cannot be written in Python: {comment(problem)}"]
        return [*variables, "\n".join(lines)]


class _Class:
    """Writes one class."""

    def __init__(self, described: ClassDescription, names: Names, written: set[str]) -> None:
        self._described = described
        self._names = names
        #: The classes that precede this one.
        self._written = written
        self._hidden = frozenset(self.field_names())
        self._variables: dict[str, str] = {}

    @property
    def is_functional(self) -> bool:
        """Whether it is a typed dict with keys that are not identifiers, which only the functional syntax allows."""
        return self._described.kind == "typed_dict" and not all(map(is_name, self.field_names()))

    def field_names(self) -> list[str]:
        return [one.name for one in self._described.fields]

    def variables(self) -> list[str]:
        """Return the lines that define new type variables."""
        lines = []
        for name, fallback in self._described.parameters.items():
            tree = read_type(fallback)
            # A bound must be defined before the class.
            is_ahead = any(one not in self._written for one in mentioned([tree], self._names.classes))
            bound = "" if is_ahead or fallback in {"Any", "object"} else self._names.type(tree)
            self._variables[name], is_new = self._names.variable(name, bound)
            if is_new:
                found = self._variables[name]
                limit = f", bound={bound}" if bound else ""
                lines.append(f'{found} = {self._names.use("TypeVar", "typing")}("{found}"{limit})')
        return lines

    def lines(self) -> list[str]:
        """Return the lines of the class."""
        match self._described.kind:
            case "enum":
                return self._enum()
            case "dataclass":
                return self._dataclass()
            case "struct":
                return self._struct()
            case "typed_dict":
                return self._typed_dict()
            case _:
                return self._named_tuple()

    def _bases(self, *bases: str, options: Sequence[str] = ()) -> str:
        every = list(bases)
        if self._variables:
            every.append(self._parametrised(self._names.use("Generic", "typing", self._hidden)))
        return f"({', '.join([*every, *options])})" if every else ""

    def _parametrised(self, name: str) -> str:
        return f"{name}[{', '.join(self._variables.values())}]" if self._variables else name

    # Enums

    def _enum(self) -> list[str]:
        described, values = self._described, self._members()
        if described.options.get("takes_others"):
            self._names.warn("its code takes other values, too (_missing_), which the contract does not")
        wanted = str(described.options.get("enum", ""))
        plain = {"str": str, "int": int}.get(wanted)
        base = wanted if wanted in _ENUMS else "Enum"
        if not all(type(value) is (plain or _ENUMS.get(wanted, type(value))) for value in values.values()):
            base, plain = "Enum", None
        base = self._names.use(base, "enum", self._hidden)
        inner = f"{plain.__name__}, {base}" if plain is not None else base
        members = [f"    {name} = {literal(value)}" for name, value in values.items()]
        return [f"class {described.name}({inner}):", *members]

    def _members(self) -> dict[str, str | int]:
        """Return the members of an enum, with names that a class may have."""
        found: dict[str, str | int] = {}
        for name, value in self._described.values.items():
            here = name
            # Python reserves some names.
            if not is_name(name) or name.startswith("_") or name == "mro":
                here = f"m_{_NOT_IN_NAMES.sub('_', name).strip('_')}"
                while here in self._described.values or here in found:
                    here += "_"
                self._names.warn(f"its member {comment(name)} is called {here}")
            found[here] = value
        return found

    # Dataclasses and Structs

    def _dataclass(self) -> list[str]:
        described = self._described
        # A description of an earlier version has no options.
        options = [f"{name}=True" for name in _DATACLASS_OPTIONS if described.options.get(name) is True]
        all_named = bool(described.fields) and all(one.kw_only for one in described.fields)
        options += ["kw_only=True"] if all_named else []
        name = self._names.use("dataclass", "dataclasses", self._hidden)
        head = f"@{name}({', '.join(options)})" if options else f"@{name}"
        lines = [head, f"class {described.name}{self._bases()}:"]
        had_default = False
        for one in described.fields:
            kind, default = self._typed(one)
            is_named = one.kw_only and not all_named
            if not one.kw_only and had_default and default is None:
                # Make the field keyword-only instead of inventing a default for it.
                is_named = True
                self._names.warn(
                    f"{one.name} is keyword-only: it has no default, and a field before it has one"
                )
            had_default = had_default or (default is not None and not one.kw_only)
            lines.append(f"    {one.name}: {kind}{self._dataclass_default(default, is_named)}")
        return lines

    def _dataclass_default(self, default: WrittenDefault | None, is_named: bool) -> str:
        options = []
        if default is not None and default.factory is not None:
            options.append(f"default_factory={default.factory}")
        elif default is not None and is_named:
            options.append(f"default={default.text}")
        options += ["kw_only=True"] if is_named else []
        if options:
            return f" = {self._names.use('field', 'dataclasses', self._hidden)}({', '.join(options)})"
        return "" if default is None else f" = {default.text}"

    def _struct(self) -> list[str]:
        described = self._described
        options = [
            f"{name}={literal(described.options[name])}"
            for name in STRUCT_OPTIONS
            if name in described.options
        ]
        written = [(one, *self._typed(one)) for one in described.fields]
        named = [one.kw_only for one in described.fields]
        has_defaults = [default is not None for _, _, default in written]
        is_unordered = sorted(has_defaults) != has_defaults
        if any(named) and not all(named):
            return self._mixed_struct(options, written)
        if is_unordered and not any(named):
            self._names.warn(
                "its fields are keyword-only: a field without a default follows a field with one"
            )
        options += ["kw_only=True"] if any(named) or is_unordered else []
        head = self._bases("msgspec.Struct", options=options)
        return [f"class {described.name}{head}:", *map(_struct_line, written)]

    def _mixed_struct(
        self, options: Sequence[str], written: Sequence[tuple[FieldDescription, str, WrittenDefault | None]]
    ) -> list[str]:
        """Write a Struct with keyword-only and positional fields as two classes; the base has the positional fields."""
        name = self._described.name
        base = self._names.free(f"{name}ByPosition")
        of_values = [one for one in options if not one.startswith("tag")]
        heads = [
            f"class {base}{self._bases('msgspec.Struct', options=of_values)}:",
            f"class {name}{self._bases(self._parametrised(base), options=[*options, 'kw_only=True'])}:",
        ]
        first, second = (
            [_struct_line(one) for one in written if one[0].kw_only is flag] for flag in (False, True)
        )
        return [heads[0], *first, "", "", heads[1], *second]

    def _typed(self, one: FieldDescription) -> tuple[str, WrittenDefault | None]:
        """Return a field's type and default. A default that cannot be written is UNSET: the server applies it."""
        kind = self._type(one)
        if one.required:
            return kind, None
        if one.default != "UNSET":
            default = written_default(one.default, self._names, self._hidden)
            if default is not None:
                return kind, default
            if self._described.options.get("array_like"):
                self._names.warn(f"the default of {one.name} cannot be written: it has to be given")
                return kind, None
        return self._type(one, or_unset=True), WrittenDefault("msgspec.UNSET")

    def _type(self, one: FieldDescription, *, or_unset: bool = False) -> str:
        """Write the type of a field, in quotes if it names a class that is defined later."""
        self._names.at(f"{self._described.name}.{one.name}")
        tree = read_type(one.exact)
        if or_unset:
            tree = _or_unset(tree)
        text = self._names.type(tree, self._variables, self._hidden)
        self._names.at(self._described.name)
        return literal(text) if self._is_ahead(tree) else text

    def _is_ahead(self, tree: TypeTree) -> bool:
        classes = self._names.classes
        return any(
            one not in self._written or one in self._hidden
            for one in mentioned([tree], classes)
            if classes[one].kind != "protobuf"
        )

    # Typed dicts and named tuples

    def _typed_dict(self) -> list[str]:
        base, name = self._names.use("TypedDict", "typing", self._hidden), self._described.name
        if self.is_functional:
            if self._variables:
                self._names.warn("its type variables cannot be written: they are Any")
                self._variables = dict.fromkeys(self._variables, self._names.use("Any", "typing"))
            inner = ", ".join(f"{literal(one.name)}: {self._entry(one)}" for one in self._described.fields)
            return [f"{name} = {base}({literal(name)}, {{{inner}}})"]
        fields = [f"    {one.name}: {self._entry(one)}" for one in self._described.fields]
        return [f"class {name}{self._bases(base)}:", *fields]

    def _entry(self, one: FieldDescription) -> str:
        kind = self._type(one)
        return kind if one.required else f"{self._names.use('NotRequired', 'typing', self._hidden)}[{kind}]"

    def _named_tuple(self) -> list[str]:
        base, fields = self._names.use("NamedTuple", "typing", self._hidden), self._described.fields
        defaults = [written_default(one.default, self._names, self._hidden) for one in fields]
        unknown = {
            one.name
            for one, default in zip(fields, defaults, strict=True)
            if not one.required and default is None
        }
        first = next((number for number, default in enumerate(defaults) if default is not None), len(fields))
        if unknown:
            self._names.warn(
                f"defaults cannot be written: {', '.join(sorted(unknown))} and all before have to be given"
            )
            last = max(number for number, one in enumerate(fields) if one.name in unknown)
            first = max(first, last + 1)
        lines = [f"class {self._described.name}{self._bases(base)}:"]
        for number, (one, default) in enumerate(zip(fields, defaults, strict=True)):
            text = f" = {default.text}" if default is not None and number >= first else ""
            lines.append(f"    {one.name}: {self._type(one)}{text}")
        return lines


def _or_unset(tree: TypeTree) -> TypeTree:
    """Return the union of a type and UNSET. An annotation with `Field` then encloses the union."""
    fields = [one for one in tree.arguments if tree.name == "Annotated" and one.name == "Field"]
    if not fields:
        return TypeTree("|", (tree, TypeTree("msgspec.UnsetType")))
    inner, *others = (one for one in tree.arguments if one not in fields)
    inner = TypeTree("Annotated", (inner, *others)) if others else inner
    return TypeTree("Annotated", (_or_unset(inner), *fields))


def _struct_line(written: tuple[FieldDescription, str, WrittenDefault | None]) -> str:
    one, kind, default = written
    head = f"    {one.name}: {kind}"
    is_renamed = bool(one.wire_name) and one.wire_name != one.name
    if default is None and not is_renamed:
        return head
    # msgspec copies an empty default for each object.
    is_plain = default is not None and (default.factory is None or default.text in {"[]", "{}", "set()"})
    if default is not None and is_plain and not is_renamed:
        return f"{head} = {default.text}"
    options = []
    if default is not None:
        options.append(
            f"default={default.text}" if default.factory is None else f"default_factory={default.factory}"
        )
    options += [f"name={literal(one.wire_name)}"] if is_renamed else []
    return f"{head} = msgspec.field({', '.join(options)})"


def problem_in(lines: Iterable[str], names: Iterable[str]) -> str | None:
    """Return why these lines of a class body are not valid Python; None if they are."""
    for name in names:
        if not is_name(name):
            return f"{name!r} is not a name"
    try:
        compile("\n".join(["class _:", *lines]), "contract", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return getattr(error, "msg", None) or str(error)
    return None


def comment(text: str) -> str:
    """Return a text in a form that a comment can contain."""
    return ascii(text)[1:-1]
