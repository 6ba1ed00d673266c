"""JSON Schemas (draft 2020-12) of payload types, for values encoded by the codec `json`.

msgspec describes the fields, tags and limits of its types; the types of `fastrpc.types` have their own schemas.
`msgspec.json.schema` is not used, because it refuses defaults of classes that it does not know.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, time
from enum import Enum, Flag
from functools import partial
from typing import Any, ClassVar, Final, get_origin

import msgspec
from msgspec import inspect as schema

from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.schema.conversion import written_types
from fastrpc.rpc.schema.payload_classes import documentation_of
from fastrpc.rpc.schema.type_graph import field_types, with_plain_types
from fastrpc.rpc.schema.type_names import class_name
from fastrpc.types.base import PayloadType, encode_value, find

__all__ = ["JsonSchema", "SchemaSet", "arguments_schema", "object_schema", "plain_default"]

JsonSchema = dict[str, Any]

#: Schemas of types without parts and limits.
_PLAIN: Final[dict[type[schema.Type], JsonSchema]] = {
    schema.AnyType: {},
    schema.RawType: {},
    schema.NoneType: {"type": "null"},
    schema.BoolType: {"type": "boolean"},
    schema.DateType: {"type": "string", "format": "date"},
    schema.TimeDeltaType: {"type": "string", "format": "duration"},
    schema.UUIDType: {"type": "string", "format": "uuid"},
    schema.DecimalType: {"type": "string", "format": "decimal"},
    schema.ExtType: {"description": "An extension of msgpack, which JSON does not carry."},
}

#: The limits of a type: the name in msgspec, and the keyword in JSON Schema.
_NUMBER: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_TEXT: Final = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
_ARRAY: Final = {"min_length": "minItems", "max_length": "maxItems"}
_OBJECT: Final = {"min_length": "minProperties", "max_length": "maxProperties"}

#: The pattern of integers as keys of a map.
_INTEGER_KEY: Final = "^-?(0|[1-9][0-9]*)$"

#: Three bytes of a value are four characters in base64.
_BASE64: Final = 4

#: The place where pydantic puts the schemas of nested models.
_MODEL_REFERENCE: Final = "#/$defs/"

#: The suffixes for the two names of a class whose values are received in one form and sent in another.
_TAKEN: Final = "-Input"
_SENT: Final = "-Output"
_OTHER: Final = {_TAKEN: _SENT, _SENT: _TAKEN}
_DIRECTED: Final = re.compile(rf"(?P<name>.+)(?P<direction>{_TAKEN}|{_SENT})(?P<number>[0-9]*)")

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")


class SchemaSet:
    """The schemas of a document. Schemas of classes are in `components`, and other schemas refer to them by name.

    Args:
        prefix: the text that precedes a component's name in a reference.
    """

    def __init__(self, prefix: str = "#/components/schemas/") -> None:
        self.components: dict[str, JsonSchema] = {}
        self._prefix = prefix
        #: The name of each class, with or without type arguments, and each direction.
        self._names: dict[tuple[Any, str], str] = {}
        self._is_sent = False

    def schema_of(self, annotation: Any) -> JsonSchema:
        """Return the schema of an annotation. Its classes become components.

        Raises:
            TypeError: values of this type cannot be encoded.
        """
        return self._schema(schema.type_info(with_plain_types(annotation)))

    def result_schema_of(self, annotation: Any) -> JsonSchema:
        """Return the schema of a result. Models may have different forms when sent and received."""
        self._is_sent = True
        try:
            return self.schema_of(annotation)
        finally:
            self._is_sent = False

    def settle(self, document: Any) -> Any:
        """Return a document without direction suffixes for classes that it uses in only one direction.

        The components are renamed too, so call this only when the document is complete.
        """
        short = dict(self._short_names())
        if not short:
            return document
        names = {self._prefix + old: self._prefix + new for old, new in short.items()}
        self.components = {
            short.get(name, name): _renamed(one, names) for name, one in self.components.items()
        }
        return _renamed(document, names)

    def _short_names(self) -> Iterator[tuple[str, str]]:
        for name in self.components:
            found = _DIRECTED.fullmatch(name)
            if found is not None:
                short, number = found["name"] + found["number"], found["number"]
                other = found["name"] + _OTHER[found["direction"]] + number
                if short not in self.components and other not in self.components:
                    yield name, short

    def add(self, name: str, described: JsonSchema) -> JsonSchema:
        """Add a component that describes no class; return a reference to it."""
        self.components[name] = described
        return {"$ref": self._prefix + name}

    def component(self, reference: str) -> JsonSchema:
        """Return the schema that a reference names; an empty schema if the reference names no component."""
        return self.components.get(reference.removeprefix(self._prefix), {})

    # Types

    def _schema(self, part: schema.Type) -> JsonSchema:
        if isinstance(part, schema.Metadata):
            return self._schema(part.type) | (part.extra_json_schema or {})
        plain = _PLAIN.get(type(part))
        if plain is not None:
            return dict(plain)
        return self._WRITERS[type(part)](self, part)

    def _number(self, part: Any) -> JsonSchema:
        name = "integer" if isinstance(part, schema.IntType) else "number"
        return {"type": name, **_bounds(part, _NUMBER)}

    def _text(self, part: Any) -> JsonSchema:
        return {"type": "string", **_bounds(part, _TEXT)}

    def _bytes(self, part: Any) -> JsonSchema:
        lengths = _bounds(part, {"min_length": "minLength", "max_length": "maxLength"})
        encoded = {name: _BASE64 * math.ceil(length / 3) for name, length in lengths.items()}
        return {"type": "string", "contentEncoding": "base64", **encoded}

    def _instant(self, part: Any) -> JsonSchema:
        name = "date-time" if isinstance(part, schema.DateTimeType) else "time"
        # JSON Schema's formats follow RFC 3339, which requires an offset.
        return {"type": "string"} if part.tz is False else {"type": "string", "format": name}

    def _array(self, part: Any) -> JsonSchema:
        found: JsonSchema = {"type": "array", "items": self._schema(part.item_type), **_bounds(part, _ARRAY)}
        if isinstance(part, schema.SetType | schema.FrozenSetType):
            found["uniqueItems"] = True
        return found

    def _tuple(self, part: Any) -> JsonSchema:
        return _row([self._schema(one) for one in part.item_types], len(part.item_types), is_closed=True)

    def _object(self, part: Any) -> JsonSchema:
        found: JsonSchema = {"type": "object", "additionalProperties": self._schema(part.value_type)}
        names = self._key(self._schema(part.key_type))
        if names:
            found["propertyNames"] = names
        return found | _bounds(part, _OBJECT)

    def _key(self, described: JsonSchema) -> JsonSchema:
        """Return the schema of a type as the key of a map, which is a text in JSON; empty if any text may be a key."""
        inner = self.component(described["$ref"]) if "$ref" in described else described
        if inner.get("type") == "string":
            return {name: one for name, one in described.items() if name != "type"}
        if "enum" in inner:
            return {"enum": [f"{value}" for value in inner["enum"] if value is not None]}
        return {"pattern": _INTEGER_KEY} if inner.get("type") == "integer" else {}

    def _union(self, part: Any) -> JsonSchema:
        choices = [self._schema(one) for one in part.types]
        tags = {
            one.tag: choice["$ref"]
            for one, choice in zip(part.types, choices, strict=True)
            if _is_tagged(one)
        }
        found: JsonSchema = {"anyOf": choices}
        # A discriminator needs a text for every choice.
        if len(tags) == len(choices) and all(isinstance(tag, str) for tag in tags):
            found["discriminator"] = {"propertyName": part.types[0].tag_field, "mapping": tags}
        return found

    def _literal(self, part: Any) -> JsonSchema:
        return _choice(part.values)

    # Classes

    def _class(self, part: Any) -> JsonSchema:
        key = part.cls, self._direction(part.cls)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._free_name(class_name(part.cls) + key[1])
            # Register the name first, because the class may refer to itself.
            self.components[name] = {}
            self.components[name].update(self._described(part))
        return {"$ref": self._prefix + name}

    def _described(self, part: Any) -> JsonSchema:
        owner = get_origin(part.cls) or part.cls
        head = {"title": class_name(part.cls)} | _documentation(owner)
        if isinstance(part, schema.EnumType):
            return _enum(head, owner)
        fields = list(self._fields(part))
        if isinstance(part, schema.NamedTupleType):
            least = sum(is_required for _, _, is_required in fields)
            return head | _row([described for _, described, _ in fields], least, is_closed=True)
        tag = []
        if isinstance(part, schema.StructType) and part.tag_field is not None:
            tag = [(part.tag_field, {"const": part.tag}, True)]
        is_closed = isinstance(part, schema.StructType) and part.forbid_unknown_fields
        if isinstance(part, schema.StructType) and part.array_like:
            required = [number for number, one in enumerate([*tag, *fields], 1) if one[2]]
            return head | _row(
                [one[1] for one in (*tag, *fields)], max(required, default=0), is_closed=is_closed
            )
        return head | object_schema([*tag, *fields], is_closed=is_closed)

    def _fields(self, part: Any) -> Iterator[tuple[str, JsonSchema, bool]]:
        """Yield for each field its name in payloads, its schema, and whether it is required."""
        for field, kind in field_types(part):
            described = self._schema(kind)
            if not field.required:
                described |= plain_default(field.default, field.default_factory, msgspec.NODEFAULT)
            yield field.encode_name, described, field.required

    def _custom(self, part: Any) -> JsonSchema:
        if part.cls is object:
            return {}
        known = find(part.cls)
        if known is None:
            raise TypeError(f"{part.cls.__qualname__} does not travel")
        if known.plain_type is not None:
            return self.schema_of(known.plain_type(part.cls))
        if known.schema is None:
            return {"title": part.cls.__name__}
        if known.fields is None:
            return known.schema(part.cls)
        key = part.cls, self._direction(part.cls)
        if key not in self._names:
            self._names[key] = self._add_model(part.cls, known, key[1])
        return {"$ref": self._prefix + self._names[key]}

    def _direction(self, cls: Any) -> str:
        """Return the suffix of a class's name; "" unless a model in it is sent and received in different forms."""
        if not any(_has_two_forms(get_origin(part) or part) for part in written_types([cls])):
            return ""
        return _SENT if self._is_sent else _TAKEN

    def _add_model(self, cls: Any, known: PayloadType, direction: str) -> str:
        """Add the schema of a class that describes itself, and the schemas of its nested classes; return its name."""
        described, other = _forms(cls, known)
        if direction == _SENT:
            described, other = other, described
        inner = described.get("$defs", {})
        unlike = _unlike(inner, other.get("$defs", {}))
        wanted = {name: name + direction if name in unlike else name for name in inner}
        names = {
            name: wanted[name]
            if self.components.get(wanted[name]) == self._with_references(one, wanted)
            else self._free_name(wanted[name])
            for name, one in inner.items()
        }
        for name, one in inner.items():
            self.components[names[name]] = self._with_references(one, names)
        root = {key: one for key, one in described.items() if key != "$defs"}
        if "$ref" in root:
            # The class refers to itself, so pydantic has put its schema among the nested schemas.
            return names[root["$ref"].removeprefix(_MODEL_REFERENCE)]
        found, own = self._with_references(root, names), cls.__name__ + direction
        name = own if self.components.get(own) == found else self._free_name(own)
        self.components[name] = found
        return name

    def _with_references(self, value: Any, names: dict[str, str]) -> Any:
        """Return a part of pydantic's schema with references to components of this document."""
        return _renamed(value, {_MODEL_REFERENCE + old: self._prefix + new for old, new in names.items()})

    def _free_name(self, name: str) -> str:
        base, number = _NOT_IN_NAMES.sub("_", name).strip("_") or "Type", 2
        free = base
        while free in self.components:
            free, number = f"{base}{number}", number + 1
        return free

    #: The function that writes the schema of each kind of type.
    _WRITERS: ClassVar[dict[type[schema.Type], Callable[["SchemaSet", Any], JsonSchema]]] = {
        **dict.fromkeys((schema.IntType, schema.FloatType), _number),
        schema.StrType: _text,
        **dict.fromkeys((schema.BytesType, schema.ByteArrayType, schema.MemoryViewType), _bytes),
        **dict.fromkeys((schema.DateTimeType, schema.TimeType), _instant),
        **dict.fromkeys((schema.ListType, schema.VarTupleType, schema.SetType, schema.FrozenSetType), _array),
        schema.TupleType: _tuple,
        # `FrozenDictType` exists only since Python 3.15.
        **dict.fromkeys((schema.DictType, getattr(schema, "FrozenDictType", schema.DictType)), _object),
        schema.UnionType: _union,
        schema.LiteralType: _literal,
        **dict.fromkeys(
            (
                schema.EnumType,
                schema.StructType,
                schema.DataclassType,
                schema.TypedDictType,
                schema.NamedTupleType,
            ),
            _class,
        ),
        schema.CustomType: _custom,
    }


def arguments_schema(definition: MethodDefinition, schemas: SchemaSet) -> JsonSchema:
    """Return the schema of a method's arguments: an object with a property for each parameter, without the stream.

    Raises:
        ConfigError: a type is unknown at run time.
    """
    fields = []
    for parameter, kind in zip(definition.parameters, definition.types().parameters, strict=True):
        described = schemas.schema_of(kind)
        if not parameter.is_required:
            described |= plain_default(parameter.default)
        fields.append((parameter.name, described, parameter.is_required))
    return object_schema(fields, is_closed=True)


def object_schema(fields: Iterable[tuple[str, JsonSchema, bool]], *, is_closed: bool) -> JsonSchema:
    """Return the schema of an object. Each field has a name, a schema, and True if it is required."""
    listed = list(fields)
    found: JsonSchema = {"type": "object", "properties": {name: described for name, described, _ in listed}}
    if required := [name for name, _, is_required in listed if is_required]:
        found["required"] = required
    if is_closed:
        found["additionalProperties"] = False
    return found


def plain_default(default: Any, factory: Any = None, nothing: Any = None) -> JsonSchema:
    """Return the keyword `default` with a default; empty if JSON cannot express the default.

    Args:
        factory: the function that returns the default; `nothing` or None if there is no factory.
        nothing: the value that stands for no default or no factory.
    """
    if factory is not None and factory is not nothing:
        # Do not call other factories, which may have side effects.
        return (
            {"default": factory()} if factory in (list, dict) else {"default": []} if factory is set else {}
        )
    if nothing is not None and default is nothing:
        return {}
    if isinstance(default, datetime | time) and default.tzinfo is None:
        # Without an offset the value violates RFC 3339, and validators would refuse the document.
        return {}
    try:
        encoded = msgspec.json.encode(default, enc_hook=partial(encode_value, "json"))
    except (TypeError, ValueError):
        return {}
    # Numbers that JSON cannot express are encoded as null.
    return {} if encoded == b"null" and default is not None else {"default": msgspec.json.decode(encoded)}


def _has_two_forms(cls: type[Any]) -> bool:
    """Return whether a class with its own schema is sent in another form than it is received."""
    known = find(cls)
    if known is None or known.schema is None:
        return False
    taken, sent = _forms(cls, known)
    return taken != sent


def _forms(cls: Any, known: PayloadType) -> tuple[JsonSchema, JsonSchema]:
    """Return the schemas of a class with its own schema: as received, and as sent."""
    assert known.schema is not None
    return known.schema(cls), (known.sent_schema or known.schema)(cls)


def _unlike(inner: dict[str, JsonSchema], other: dict[str, JsonSchema]) -> set[str]:
    """Return the names of the schemas that differ in `other`, or refer to schemas that differ."""
    found = {name for name, one in inner.items() if one != other.get(name, one)}
    while True:
        marked = {_MODEL_REFERENCE + name: "" for name in found}
        more = {name for name, one in inner.items() if _renamed(one, marked) != one} - found
        if not more:
            return found
        found |= more


def _renamed(value: Any, names: Mapping[str, str], *, is_reference: bool = False) -> Any:
    """Return a part of a document with renamed references. Other texts, such as defaults, are not changed."""
    if isinstance(value, str):
        return names.get(value, value) if is_reference else value
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _renamed(one, names, is_reference=key == "$ref") for key, one in value.items()}
    chosen = found.get("discriminator")
    if isinstance(chosen, dict) and isinstance(chosen.get("mapping"), dict):
        chosen["mapping"] = {key: names.get(target, target) for key, target in chosen["mapping"].items()}
    return found


def _choice(values: Sequence[Any]) -> JsonSchema:
    """Return the schema of a value that is one of these texts or numbers."""
    types = {"string" if isinstance(value, str) else "integer" for value in values if value is not None}
    is_one = len(types) == 1 and None not in values
    return {"type": types.pop(), "enum": list(values)} if is_one else {"enum": list(values)}


def _enum(head: JsonSchema, owner: type[Enum]) -> JsonSchema:
    """Return the schema of an enum. If the values are not texts, the description also has the names."""
    values = [member.value for member in owner]
    if all(isinstance(value, str) for value in values):
        return head | _choice(values)
    named = ", ".join(f"{member.value} = {member.name}" for member in owner)
    text = head.get("description")
    head = head | {"description": f"{text}\n\n{named}" if text else named}
    if issubclass(owner, Flag):
        # Any combination of a flag's members is a value.
        return head | {"type": "integer"}
    # Client generators read these names: openapi-generator, NSwag, openapi-python-client.
    return head | _choice(values) | {"x-enum-varnames": [member.name for member in owner]}


def _row(items: list[JsonSchema], least: int, *, is_closed: bool) -> JsonSchema:
    """Return the schema of an array with a separate schema for each item."""
    found: JsonSchema = {"type": "array", "minItems": least}
    if items:
        found["prefixItems"] = items
    if is_closed:
        found["maxItems"] = len(items)
    return found


def _bounds(part: Any, names: dict[str, str]) -> JsonSchema:
    found = {names[name]: getattr(part, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _is_tagged(part: Any) -> bool:
    return isinstance(part, schema.StructType) and part.tag_field is not None and not part.array_like


def _documentation(cls: type[Any]) -> JsonSchema:
    text = documentation_of(cls)
    return {"description": text} if text else {}
