"""Inspect the classes in payloads: their kinds, fields and options."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from typing import Any, Final, Generic, NamedTuple, NotRequired, Required, get_args, get_origin

from fastrpc.rpc.schema.annotation import FIELD_MARKS, substitute, type_variables
from fastrpc.types.base import find

__all__ = [
    "NOTHING",
    "STRUCT_OPTIONS",
    "PayloadClass",
    "PayloadField",
    "documentation_of",
    "field_annotations",
    "payload_class",
    "payload_classes",
    "plain_annotation",
]

#: Stands for no default.
NOTHING: Final[Any] = types.SimpleNamespace()

#: Options of a Struct that change its payload, or how values are created and compared.
STRUCT_OPTIONS: Final = (
    "tag",
    "tag_field",
    "array_like",
    "forbid_unknown_fields",
    "omit_defaults",
    "frozen",
    "order",
)
#: The options of a dataclass.
DATACLASS_OPTIONS: Final = ("frozen", "order", "unsafe_hash")

#: The base classes of enums that a contract has to keep, the most specific first.
_ENUMS: Final = (IntFlag, Flag, IntEnum, StrEnum)

#: Modules whose classes are not payload classes.
_LIBRARIES: Final = frozenset(
    {
        *("abc", "builtins", "collections", "datetime", "decimal", "enum", "ipaddress", "msgspec"),
        *("numpy", "pathlib", "types", "typing", "typing_extensions", "uuid"),
    }
)


class PayloadField(NamedTuple):
    """A field in payloads."""

    name: str
    wire_name: str
    annotation: Any
    is_required: bool
    default: Any = NOTHING
    #: The function that returns the default; NOTHING without such a function.
    factory: Any = NOTHING
    is_keyword: bool = False


class PayloadClass(NamedTuple):
    """A class of values in payloads."""

    cls: type[Any]
    #: The kind: dataclass, struct, typed_dict, named_tuple, enum, protobuf; opaque for a class with its own encoding.
    kind: str
    fields: tuple[PayloadField, ...] = ()
    options: Mapping[str, Any] = types.MappingProxyType({})


def payload_classes(annotations: Iterable[Any]) -> list[PayloadClass]:
    """Return the classes in these types and, recursively, in their fields, in the order in which they are found."""
    found: dict[Any, PayloadClass] = {}
    waiting = list(annotations)
    #: The types by `id`, because types with metadata may be unhashable. References keep each `id` unique.
    seen: dict[int, Any] = {}
    while waiting:
        annotation = plain_annotation(waiting.pop(0))
        if get_origin(annotation) is typing.Literal:
            continue
        arguments = get_args(annotation)
        if arguments:
            if id(annotation) not in seen:
                seen[id(annotation)] = annotation
                waiting += _inner(arguments)
            annotation = get_origin(annotation)
        if isinstance(annotation, typing.TypeVar):
            waiting.append(substitute(annotation, {}))
        elif isinstance(annotation, type) and annotation not in found and not _is_library(annotation):
            found[annotation] = described = payload_class(annotation)
            waiting += [field.annotation for field in described.fields]
            waiting += getattr(annotation, "__parameters__", ())
    return list(found.values())


def documentation_of(cls: type[Any]) -> str:
    """Return the docstring in the source of a class; "" without a docstring."""
    text = vars(cls).get("__doc__")
    # Python gives a dataclass or named tuple without a docstring its signature as `__doc__`.
    is_written = isinstance(text, str) and text.strip() and not text.startswith(f"{cls.__name__}(")
    return inspect.cleandoc(text) if is_written else ""


def _inner(arguments: Iterable[Any]) -> Iterator[Any]:
    for one in arguments:
        if isinstance(one, list | tuple):
            yield from _inner(one)
        elif not isinstance(one, str | int | bytes):
            yield one


def plain_annotation(annotation: Any) -> Any:
    """Return the type inside metadata, aliases, and type qualifiers of fields."""
    while True:
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif (origin := get_origin(annotation)) is typing.Annotated or origin in FIELD_MARKS:
            annotation = get_args(annotation)[0]
        else:
            return annotation


def _is_library(cls: type[Any]) -> bool:
    return cls.__module__.partition(".")[0] in _LIBRARIES


def payload_class(cls: type[Any]) -> PayloadClass:
    """Return the description of a class in payloads."""
    if issubclass(cls, Enum):
        return PayloadClass(cls, "enum", options=_enum_options(cls))
    if hasattr(cls, "SerializeToString") and hasattr(cls, "DESCRIPTOR"):
        message = getattr(cls.DESCRIPTOR, "full_name", cls.__name__)
        return PayloadClass(cls, "protobuf", options={"message": message, "module": cls.__module__})
    known, fields = find(cls), None
    if known is not None:
        kind = "struct"
        fields = None if known.fields is None else _model_fields(known.fields(cls))
    else:
        kind = _kind_of(cls)
        hints = field_annotations(cls) if kind != "opaque" else None
        fields = None if hints is None else tuple(_fields(cls, kind, hints))
    if fields is None:
        return PayloadClass(cls, "opaque")
    return PayloadClass(cls, kind, fields, {} if known is not None else _options(cls, kind))


def _kind_of(cls: type[Any]) -> str:
    if hasattr(cls, "__struct_config__"):
        return "struct"
    if dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__"):
        return "dataclass"
    if typing.is_typeddict(cls):
        return "typed_dict"
    if issubclass(cls, tuple) and hasattr(cls, "_field_defaults"):
        return "named_tuple"
    return "opaque"


def _model_fields(fields: Any) -> tuple[PayloadField, ...] | None:
    """Return the fields of a model as fields of a Struct with the same payload; None if no Struct has this payload."""
    if any(field.wire_name is None for field in fields):
        return None
    return tuple(
        PayloadField(
            field.name,
            field.wire_name,
            field.annotation,
            field.is_required,
            NOTHING if field.is_required or field.factory is not None else field.default,
            NOTHING if field.factory is None else field.factory,
        )
        for field in fields
    )


def field_annotations(cls: Any) -> dict[str, Any] | None:
    """Return the types of a class's fields, with the type arguments of generic bases; None if a type is unknown."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
        variables = _typed_dict_variables(cls) if typing.is_typeddict(cls) else type_variables(cls)
    except Exception:  # a name that only type checkers resolve
        return None
    if typing.is_typeddict(cls):
        return {name: substitute(hint, variables, keep=True) for name, hint in hints.items()}
    owners = {name: one for one in reversed(cls.__mro__) for name in inspect.get_annotations(one)}
    return {
        name: substitute(hint, variables.get(owners.get(name), {}), keep=True) for name, hint in hints.items()
    }


def _typed_dict_variables(cls: Any) -> dict[Any, Any]:
    """Return the type arguments of the generic typed dicts that a typed dict inherits from."""
    found: dict[Any, Any] = {}
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if origin is not None and origin is not Generic:
            found |= _typed_dict_variables(origin)
            found |= dict(zip(getattr(origin, "__parameters__", ()), get_args(base), strict=False))
        elif typing.is_typeddict(base):
            found |= _typed_dict_variables(base)
    return found


def _fields(cls: Any, kind: str, hints: dict[str, Any]) -> Iterator[PayloadField]:
    match kind:
        case "struct":
            yield from _struct_fields(cls, hints)
        case "dataclass" if dataclasses.is_dataclass(cls):
            for part in dataclasses.fields(cls):
                missing = dataclasses.MISSING
                default = NOTHING if part.default is missing else part.default
                factory = NOTHING if part.default_factory is missing else part.default_factory
                # A field with init=False is sent like every other field.
                is_keyword = part.kw_only is True or not part.init
                yield _field(part.name, hints[part.name], default, factory, is_keyword=is_keyword)
        case "dataclass":
            yield from _attrs_fields(cls, hints)
        case "named_tuple":
            for name in cls._fields:
                # Fields of `collections.namedtuple` have no types.
                yield _field(name, hints.get(name, Any), cls._field_defaults.get(name, NOTHING), NOTHING)
        case _:
            for name, hint in hints.items():
                # `__required_keys__` is wrong for string annotations, so look at the resolved type first.
                said = {Required: True, NotRequired: False}.get(get_origin(hint))
                is_required = name in cls.__required_keys__ if said is None else said
                yield PayloadField(name, name, hint, is_required)


def _struct_fields(cls: Any, hints: dict[str, Any]) -> Iterator[PayloadField]:
    import msgspec

    by_position = len(cls.__match_args__)
    for number, one in enumerate(msgspec.structs.fields(cls)):
        default = NOTHING if one.default is msgspec.NODEFAULT else one.default
        factory = NOTHING if one.default_factory is msgspec.NODEFAULT else one.default_factory
        found = _field(one.name, hints[one.name], default, factory, is_keyword=number >= by_position)
        yield found._replace(wire_name=one.encode_name)


def _attrs_fields(cls: Any, hints: dict[str, Any]) -> Iterator[PayloadField]:
    for one in cls.__attrs_attrs__:
        if one.name.startswith("_"):
            continue
        default, factory = one.default, NOTHING
        if getattr(default, "name", None) == "NOTHING":
            default = NOTHING
        elif hasattr(default, "takes_self"):
            default, factory = NOTHING, (lambda: None) if default.takes_self else default.factory
        is_keyword = one.kw_only or not one.init
        yield _field(one.name, hints.get(one.name, Any), default, factory, is_keyword=is_keyword)


def _field(
    name: str, annotation: Any, default: Any, factory: Any, *, is_keyword: bool = False
) -> PayloadField:
    is_required = default is NOTHING and factory is NOTHING
    return PayloadField(name, name, annotation, is_required, default, factory, is_keyword)


def _options(cls: Any, kind: str) -> dict[str, Any]:
    if kind == "struct":
        config = cls.__struct_config__
        return {name: getattr(config, name) for name in STRUCT_OPTIONS if getattr(config, name)}
    if kind != "dataclass":
        return {}
    if hasattr(cls, "__attrs_attrs__"):
        # attrs shows that a class is frozen only by this method.
        return {"frozen": True} if cls.__setattr__.__name__ == "_frozen_setattrs" else {}
    return {name: True for name in DATACLASS_OPTIONS if getattr(cls.__dataclass_params__, name)}


def _enum_options(cls: type[Enum]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    name = next((base.__name__ for base in (*_ENUMS, str, int) if issubclass(cls, base)), None)
    if name is not None:
        found["enum"] = name
    if any("_missing_" in vars(one) for one in cls.__mro__ if one.__module__ != "enum"):
        found["takes_others"] = True
    return found
