"""Write a contract as Python source: a `typing.Protocol` under `@service`, and the classes of its payloads.

A server's description becomes source that is imported, so nothing of it is copied: names must be Python identifiers,
types are parsed and written anew, defaults and texts are written as literals. Everything else is left out, with a
comment that says so.
"""

import ast
import keyword
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Any, Final

from fastrpc.cli.descriptions import (
    ClassDescription,
    FieldDescription,
    MethodDescription,
    ParameterDescription,
    ServiceDescription,
)
from fastrpc.cli.type_tree import TypeTree, read_type
from fastrpc.rpc.type_description import STRUCT_OPTIONS

__all__ = ["contract_text"]

_BUILTIN: Final = frozenset(
    {"bool", "bytes", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple", "None", "..."}
)
#: Types of the values of arrays.
_ARRAY_VALUES: Final = (
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
        "datetime64",
        "timedelta64",
    ),
    *("number", "integer", "signedinteger", "unsignedinteger", "inexact", "floating", "complexfloating"),
    *("bool_", "longlong", "ulonglong", "generic", "character"),
)
#: The modules of types that need an import.
_MODULES: Final = {
    **dict.fromkeys(("date", "datetime", "time", "timedelta"), "datetime"),
    "Decimal": "decimal",
    "UUID": "uuid",
    **dict.fromkeys(
        (
            "AsyncIterator",
            "Collection",
            "Iterator",
            "Mapping",
            "MutableMapping",
            "MutableSequence",
            "Sequence",
        ),
        "collections.abc",
    ),
    **dict.fromkeys(("deque", "defaultdict", "Counter", "OrderedDict"), "collections"),
    **dict.fromkeys(("Any", "Literal", "NamedTuple", "NotRequired", "Protocol", "TypedDict"), "typing"),
    **dict.fromkeys(("dataclass", "field"), "dataclasses"),
    "Enum": "enum",
}
#: The same of types whose names a server's own classes may have.
_LIBRARY_MODULES: Final = {
    **dict.fromkeys(("Path", "PurePath", "PurePosixPath", "PureWindowsPath", "PosixPath"), "pathlib"),
    **dict.fromkeys(
        (f"IPv{version}{kind}" for version in "46" for kind in ("Address", "Interface", "Network")),
        "ipaddress",
    ),
    **dict.fromkeys(("ndarray", "dtype", *_ARRAY_VALUES), "numpy"),
}
#: Defaults that need a factory in a dataclass.
_FACTORIES: Final = {"[]": "list", "{}": "dict", "set()": "set"}
#: Stand for an unknown default, in a Struct with `omit_defaults`.
_UNSET: Final = "msgspec.UNSET"
_UNSET_TYPE: Final = "msgspec.UnsetType"
_LONGEST_LINE: Final = 110
#: Kinds of classes that can be written; a server of a later version may have more.
_CLASS_KINDS: Final = frozenset({"dataclass", "struct", "typed_dict", "named_tuple", "enum"})


def contract_text(services: Sequence[ServiceDescription], *, is_sync: bool = False) -> str:
    """Return the source of a module with a contract for each service.

    Args:
        is_sync: write `def` methods, the right types for `SyncClient.bind`.
    """
    return _Writer(services, is_sync).text()


class _Writer:
    """Writes one module."""

    def __init__(self, services: Sequence[ServiceDescription], is_sync: bool) -> None:
        self._services = services
        self._is_sync = is_sync
        self._imported: set[str] = {"Protocol"}
        self._classes: dict[str, ClassDescription] = {}
        for service in services:
            for one in service.types:
                is_own = is_name(one.name) and one.name not in _BUILTIN and one.name not in _MODULES
                if is_own and one.kind in _CLASS_KINDS:
                    self._classes.setdefault(one.name, one)
        self._modules = {**_LIBRARY_MODULES, **_MODULES}
        self._types = frozenset({*self._classes, *self._modules, "fastrpc", "msgspec"})
        self._taken = set(self._types)
        self._written: set[str] = set()

    def text(self) -> str:
        """Return the whole source."""
        classes = [self._class(one) for one in self._in_order()]
        contracts = [self._contract(service) for service in self._services]
        head = ['"""Contracts written by `fastrpc contract`."""', ""]
        by_module: dict[str, list[str]] = {}
        for name in sorted(self._imported):
            by_module.setdefault(self._modules[name], []).append(name)
        head += [f"from {module} import {', '.join(names)}" for module, names in sorted(by_module.items())]
        head += ["", *(["import msgspec", ""] if self._needs_msgspec() else []), "import fastrpc"]
        return "\n\n\n".join(["\n".join(head), *classes, *contracts]) + "\n"

    def _in_order(self) -> list[ClassDescription]:
        """Return the classes in dependency order, as far as there is one."""
        ordered: dict[str, ClassDescription] = {}
        entered: set[str] = set()
        waiting = list(reversed(self._classes))
        while waiting:
            name = waiting[-1]
            if name in entered:
                ordered.setdefault(waiting.pop(), self._classes[name])
                continue
            entered.add(name)
            types = [read_type(one.type) for one in self._classes[name].fields]
            mentioned = [one for tree in types for one in _names_in(tree) if one in self._classes]
            waiting += reversed(mentioned)
        return list(ordered.values())

    def _needs_msgspec(self) -> bool:
        return any(one.kind == "struct" for one in self._classes.values())

    # Services

    def _contract(self, service: ServiceDescription) -> str:
        options = [literal(service.name)]
        if service.version is not None:
            options.append(f"version={literal(service.version)}")
        options += _alias(service.alias)
        if service.rpcx == "go":
            options.append('rpcx="go"')
        lines = [f"@fastrpc.service({', '.join(options)})"]
        lines.append(f"class {self._class_name(service.name)}(Protocol):")
        lines += _documentation(service.documentation)
        for method in service.methods:
            lines += ["", *self._method(method)] if len(lines) > 2 else self._method(method)
        if all(not line or line.lstrip().startswith("#") for line in lines[2:]):
            lines.append("    pass")
        return "\n".join(lines)

    def _class_name(self, service: str) -> str:
        words = "".join(character if character.isalnum() else " " for character in service).split()
        name = "".join(word[:1].upper() + word[1:] for word in words)
        if not is_name(name):
            name = "Contract"
        while name in self._taken:
            name += "Service"
        self._taken.add(name)
        return name

    def _method(self, method: MethodDescription) -> list[str]:
        attribute = self._attribute(method)
        streams = method.kind in {"server_stream", "both_ways"}
        word = "def" if self._is_sync or streams else "async def"
        parameters = list(self._parameters(method))
        result = self._result(method)
        line = f"    {word} {attribute}(self{''.join(f', {one}' for one in parameters)}) -> {result}:"
        if len(line) > _LONGEST_LINE:
            inner = "".join(f"        {one},\n" for one in ("self", *parameters))
            line = f"    {word} {attribute}(\n{inner}    ) -> {result}:"
        body = _documentation(method.documentation, indent=8)
        lines = [self._decorator(method, attribute), line if body else f"{line} ...", *body]
        names = [one.name for one in method.parameters]
        problem = _problem(lines, names if method.stream is None else [*names, method.stream.name])
        if problem is not None:
            return [f"    # {_comment(method.name)} cannot be written in Python: {_comment(problem)}"]
        return lines

    def _attribute(self, method: MethodDescription) -> str:
        attribute = method.attribute or method.name
        if not is_name(attribute):
            attribute = "".join(one if one.isalnum() and one.isascii() else "_" for one in f"m_{attribute}")
        # A class body resolves names in itself first: after a method `list` the name is no longer the type.
        while attribute in self._types or attribute in _BUILTIN:
            attribute += "_"
        return attribute

    def _decorator(self, method: MethodDescription, attribute: str) -> str:
        options = [literal(method.name)] if method.name != attribute else []
        if method.safe or method.idempotent:
            options.append("safe=True" if method.safe else "idempotent=True")
        if method.timeout is not None and isfinite(method.timeout):
            options.append(f"timeout={literal(method.timeout)}")
        if method.codec is not None:
            options.append(f"codec={literal(method.codec)}")
        if method.renamed:
            options.append(f"renamed={literal(method.renamed)}")
        options += _alias(method.alias)
        return f"    @fastrpc.method({', '.join(options)})" if options else "    @fastrpc.method"

    def _parameters(self, method: MethodDescription) -> Iterator[str]:
        parts: list[tuple[ParameterDescription, str]] = [
            (parameter, self._type(read_type(parameter.type))) for parameter in method.parameters
        ]
        if method.stream is not None:
            self._imported.add("AsyncIterator")
            kind = f"AsyncIterator[{self._type(read_type(method.stream.type))}]"
            stream = ParameterDescription(method.stream.name, kind, required=True)
            parts.insert(method.stream.position, (stream, kind))
        was_positional_only, was_by_position = False, True
        for parameter, kind in parts:
            if was_positional_only and parameter.by_name:
                yield "/"
            if was_by_position and not parameter.by_position:
                yield "*"
            was_positional_only, was_by_position = not parameter.by_name, parameter.by_position
            default = "" if parameter.required else f" = {_default(parameter.default)}"
            yield f"{parameter.name}: {kind}{default}"
        if was_positional_only:
            yield "/"

    def _result(self, method: MethodDescription) -> str:
        tree = read_type(method.result)
        if tree.name != "AsyncIterator" or method.kind not in {"server_stream", "both_ways"}:
            return self._type(tree)
        stream = "Iterator" if self._is_sync else "AsyncIterator"
        self._imported.add(stream)
        return f"{stream}[{self._type(tree.arguments[0]) if tree.arguments else 'Any'}]"

    # Classes of payloads

    def _class(self, described: ClassDescription) -> str:
        match described.kind:
            case "enum":
                lines = self._enum(described)
            case "dataclass":
                self._imported.add("dataclass")
                lines = ["@dataclass", f"class {described.name}:", *self._dataclass_fields(described)]
            case "struct":
                known = [name for name in STRUCT_OPTIONS if name in described.options]
                options = "".join(f", {name}={literal(described.options[name])}" for name in known)
                options += ", kw_only=True" if _breaks_order(described) else ""
                lines = [f"class {described.name}(msgspec.Struct{options}):"]
                omits = bool(described.options.get("omit_defaults"))
                lines += [self._struct_field(one, omits=omits) for one in described.fields]
            case "typed_dict":
                self._imported.add("TypedDict")
                lines = [f"class {described.name}(TypedDict):"]
                lines += [self._typed_dict_field(one) for one in described.fields]
            case _:
                self._imported.add("NamedTuple")
                lines = [f"class {described.name}(NamedTuple):"]
                has_defaults = not _breaks_order(described)
                lines += [self._plain_field(one, has_default=has_defaults) for one in described.fields]
        if lines[-1].endswith(":"):
            lines.append("    pass")
        self._written.add(described.name)
        problem = _problem([f"    {line}" for line in lines], [one.name for one in described.fields])
        if problem is not None:
            self._imported.add("Any")
            return f"{described.name} = Any  # it cannot be written in Python: {_comment(problem)}"
        return "\n".join(lines)

    def _enum(self, described: ClassDescription) -> list[str]:
        self._imported.add("Enum")
        members = [
            f"    {name} = {literal(value)}" for name, value in described.values.items() if is_name(name)
        ]
        return [f"class {described.name}(Enum):", *members]

    def _dataclass_fields(self, described: ClassDescription) -> Iterator[str]:
        had_default = False
        for one in described.fields:
            line = f"    {one.name}: {self._field_type(one)}"
            default = _plain_default(one)
            if one.default in _FACTORIES:
                self._imported.add("field")
                line += f" = field(default_factory={_FACTORIES[one.default]})"
            elif default is not None:
                line += f" = {default}"
            elif had_default:
                # Without a default, or with an unknown one: a missing value must not be invented.
                self._imported.add("field")
                line += " = field(kw_only=True)"
            had_default = had_default or " = " in line
            yield line

    def _struct_field(self, one: FieldDescription, *, omits: bool) -> str:
        default = _plain_default(one)
        kind = self._field_type(one)
        if default is None and omits and not one.required:
            # The field is omitted if it has its default, which is unknown here.
            is_quoted = kind.startswith('"')
            kind = (
                literal(f"{ast.literal_eval(kind)} | {_UNSET_TYPE}")
                if is_quoted
                else f"{kind} | {_UNSET_TYPE}"
            )
            default = _UNSET
        line = f"    {one.name}: {kind}"
        if one.wire_name and one.wire_name != one.name:
            before = "" if default is None else f"default={default}, "
            if default in _FACTORIES:
                before = f"default_factory={_FACTORIES[default]}, "
            return f"{line} = msgspec.field({before}name={literal(one.wire_name)})"
        return line if default is None else f"{line} = {default}"

    def _typed_dict_field(self, one: FieldDescription) -> str:
        kind = self._field_type(one)
        if one.required:
            return f"    {one.name}: {kind}"
        self._imported.add("NotRequired")
        return f"    {one.name}: NotRequired[{kind}]"

    def _plain_field(self, one: FieldDescription, *, has_default: bool) -> str:
        default = _plain_default(one) if has_default else None
        return f"    {one.name}: {self._field_type(one)}" + ("" if default is None else f" = {default}")

    def _field_type(self, one: FieldDescription) -> str:
        """Write the type of a field, in quotes if it names a class that is defined later."""
        tree = read_type(one.type)
        text = self._type(tree)
        is_ahead = any(name in self._classes and name not in self._written for name in _names_in(tree))
        return literal(text) if is_ahead else text

    # Types

    def _type(self, tree: TypeTree) -> str:
        """Write a type made of known names; Any for every other type."""
        if tree.name == "|":
            return " | ".join(self._type(choice) for choice in tree.arguments)
        if tree.name == "Literal":
            self._imported.add("Literal")
            return f"Literal[{', '.join(map(literal, tree.arguments))}]"
        if tree.name in self._classes and not tree.arguments:
            return tree.name
        if tree.name in _BUILTIN or tree.name in self._modules:
            if tree.name in self._modules:
                self._imported.add(tree.name)
            arguments = ", ".join(self._type(one) for one in tree.arguments)
            return f"{tree.name}[{arguments}]" if arguments else tree.name
        self._imported.add("Any")
        return "Any"


def is_name(text: str) -> bool:
    """Return whether a text is a usable Python identifier."""
    return (
        text.isascii() and text.isidentifier() and not keyword.iskeyword(text) and not text.startswith("__")
    )


def literal(value: Any) -> str:
    """Write a plain value, or a dict of texts, as an ASCII literal."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(one)}' for key, one in value.items())}}}"
    text = ascii(value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def _alias(names: Sequence[str]) -> list[str]:
    """Write the option with the aliases; no option for none."""
    return [f"alias=({', '.join(map(literal, names))},)"] if names else []


def _default(text: str | None) -> str:
    plain = None if text is None else _plain(text)
    return "..." if plain is None else plain


def _plain(text: str) -> str | None:
    """Write a default that is a literal; None for every other one."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    is_plain = value is None or type(value) in {bool, int, float, str, bytes}
    return literal(value) if is_plain and len(text) <= _LONGEST_LINE else None


def _plain_default(one: FieldDescription) -> str | None:
    """Return the default of a field as source; None if it has none or an unknown one."""
    if one.default is None or one.default in _FACTORIES:
        return one.default
    return _plain(one.default)


def _names_in(tree: TypeTree) -> Iterator[str]:
    yield tree.name
    for one in tree.arguments:
        if isinstance(one, TypeTree):
            yield from _names_in(one)


def _breaks_order(described: ClassDescription) -> bool:
    """Whether a field without a default follows one with a default."""
    defaults = [_plain_default(one) is not None for one in described.fields]
    return sorted(defaults) != defaults


def _documentation(text: str, indent: int = 4) -> list[str]:
    """Write the first paragraph of a text as a docstring that the text cannot terminate."""
    lines = [
        line.encode("ascii", "backslashreplace").decode().replace("\\", "\\\\").replace('"', "'")
        for line in text.strip().split("\n\n")[0].splitlines()
        if line.strip()
    ]
    if not lines or not all(line.isprintable() for line in lines):
        return []
    space = " " * indent
    if len(lines) == 1:
        return [f'{space}"""{lines[0].strip()}"""']
    return [f'{space}"""{lines[0].strip()}', *(f"{space}{line.strip()}" for line in lines[1:]), f'{space}"""']


def _problem(lines: Iterable[str], names: Iterable[str]) -> str | None:
    """Return why these lines of a class body are not valid Python; None if they are."""
    for name in names:
        if not is_name(name):
            return f"{name!r} is no name"
    try:
        compile("\n".join(["class _:", *lines]), "contract", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return getattr(error, "msg", None) or str(error)
    return None


def _comment(text: str) -> str:
    return ascii(text)[1:-1]
