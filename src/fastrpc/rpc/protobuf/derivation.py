"""Derive messages of protobuf from Python types.

A class becomes a message. A field's number is the number in `Field`, or else its position. A missing field has its
type's zero. Fields with another default, and fields that may be None, are `optional`: missing means the default or
None. A class in the body of a message's class is nested in that message.
"""

import types
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import reduce
from operator import or_
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

import msgspec

from fastrpc.rpc.protobuf.annotations import (
    NARROW_FLOAT,
    UnfitTypeError,
    marks_of,
    members_of,
    opened,
    refuse_kind,
    unknown_type,
)
from fastrpc.rpc.protobuf.declared import declared_of, outer_of
from fastrpc.rpc.protobuf.field import FLOAT_KINDS, INTEGER_KINDS, FieldError
from fastrpc.rpc.protobuf.messages import (
    ANY,
    DURATION,
    KNOWN,
    TIMESTAMP,
    VALUE,
    WRAPPED,
    EnumMember,
    ProtoEnum,
    ProtoField,
    ProtoMessage,
    packed,
)
from fastrpc.rpc.protobuf.names import check_fields, field_name, file_of, snake
from fastrpc.rpc.schema.annotation import DEEPEST, substitute, type_text
from fastrpc.rpc.schema.payload_classes import NOTHING, PayloadField, payload_class
from fastrpc.rpc.schema.type_graph import MAPS, ROWS
from fastrpc.rpc.schema.type_names import class_name
from fastrpc.types.any_message import AnyMessage
from fastrpc.types.base import find

__all__ = ["Derivation", "Part", "is_message_class"]

_SCALARS: Final[dict[Any, str]] = {
    bool: "bool",
    int: "int64",
    float: "double",
    str: "string",
    **dict.fromkeys((bytes, bytearray, memoryview), "bytes"),
    **dict.fromkeys((Decimal, UUID, date, time), "string"),
}
_KNOWN: Final = {datetime: TIMESTAMP, timedelta: DURATION, Any: VALUE, object: VALUE, AnyMessage: ANY}
#: The kinds that apply to a whole list or map, with the types of its items. Other kinds apply to each item.
_WHOLE: Final = {
    "google.protobuf.Struct": (MAPS, (str, Any)),
    "google.protobuf.ListValue": (ROWS, (Any,)),
    "google.protobuf.FieldMask": (ROWS, (str,)),
}

#: Modules whose classes are encoded as text.
_TEXTS: Final = frozenset({"pathlib", "ipaddress"})

_KEYS: Final = frozenset({"string", "bool", "int64", *INTEGER_KINDS})

_INTEGERS: Final = dict.fromkeys(("int64", *INTEGER_KINDS), "int64")
_INT32: Final = range(-(1 << 31), 1 << 31)

_OWN_MESSAGE: Final = "make the inner type the field of a separate dataclass"


class Part(NamedTuple):
    """The form of a type as the content of a field."""

    kind: str
    shape: str = "single"
    message: ProtoMessage | None = None
    enum: ProtoEnum | None = None
    takes_none: bool = False
    #: True if the field may be UNSET in the object.
    takes_unset: bool = False


class Derivation:
    """Derives the messages and enums of types, each once.

    Args:
        package: the package of the services; None if names do not matter.
    """

    def __init__(self, package: str | None = None) -> None:
        self._package = package
        self.messages: dict[Any, ProtoMessage] = {}
        self.enums: dict[Any, ProtoEnum] = {}
        #: Messages without fields, for classes that protobuf cannot express but that contain nested classes.
        self._places: dict[Any, ProtoMessage] = {}

    # Types

    def part(self, annotation: Any, kind: str | None = None, depth: int = 0) -> Part:
        """Return the form of a type as the content of a field.

        Args:
            kind: the kind of number that `Field` states.

        Raises:
            UnfitTypeError: protobuf cannot express the type in a field.
        """
        if depth > DEEPEST:
            raise UnfitTypeError(
                "it names itself", "make it a class, whose fields may have the class as their type"
            )
        annotation, kind = opened(annotation, kind, depth)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in {Union, types.UnionType}:
            return self._union(annotation, kind, depth)
        if origin is Literal:
            refuse_kind(kind, annotation)
            return self._choice(arguments)
        owner = annotation if origin is None else origin
        if kind in KNOWN and (owner not in ROWS or kind in _WHOLE):
            return self._known(annotation, kind)
        if owner in ROWS:
            return self._list(annotation, arguments, kind, depth)
        if owner in MAPS:
            return self._map(arguments or (Any, Any), kind, depth)
        known = _KNOWN.get(annotation) if origin is None else None
        if known is not None:
            refuse_kind(kind, annotation)
            return Part("message", message=known)
        if owner in _SCALARS:
            return Part(_number_kind(owner, kind))
        refuse_kind(kind, annotation)
        if not isinstance(owner, type):
            raise unknown_type(annotation)
        return self._class(annotation, owner, depth)

    def _known(self, annotation: Any, kind: str) -> Part:
        """Return the message of google.protobuf that `Field` names, as the form of a type."""
        wrapped = WRAPPED.get(kind.rpartition(".")[2])
        if kind in _WHOLE:
            owners, arguments = _WHOLE[kind]
            fits = (get_origin(annotation) or annotation) in owners
            fits = fits and get_args(annotation) in {(), arguments}
        elif wrapped is not None:
            found = _SCALARS.get(annotation)
            fits = found == {**_INTEGERS, "float": "double"}.get(wrapped, wrapped)
        else:
            fits = _KNOWN.get(annotation) is KNOWN[kind]
        if not fits:
            refuse_kind(kind, annotation)
        return Part("message", message=KNOWN[kind])

    def _class(self, annotation: Any, owner: type[Any], depth: int) -> Part:
        if issubclass(owner, Enum):
            return Part("enum", enum=self._enum(owner))
        if owner.__module__.partition(".")[0] in _TEXTS:
            return Part("string")
        known = find(owner)
        if known is not None and known.plain_type is not None:
            return self.part(known.plain_type(annotation), None, depth + 1)
        if is_message_class(annotation):
            return Part("message", message=self.message(annotation))
        raise unknown_type(annotation)

    def _list(self, annotation: Any, arguments: tuple[Any, ...], kind: str | None, depth: int) -> Part:
        is_tuple = get_origin(annotation) is tuple
        if is_tuple and (len(arguments) != 2 or arguments[1] is not Ellipsis):
            raise UnfitTypeError(
                "protobuf has no tuples of fixed length", "make it a dataclass, or write list[T]"
            )
        inner = self.part(arguments[0] if arguments else Any, kind, depth + 1)
        self._check_element(inner, "a list")
        return inner._replace(shape="repeated")

    def _map(self, arguments: tuple[Any, ...], kind: str | None, depth: int) -> Part:
        refuse_kind(kind, dict)
        key, value = self.part(arguments[0], None, depth + 1), self.part(arguments[1], None, depth + 1)
        if key.kind not in _KEYS or key.shape != "single" or key.takes_none:
            raise UnfitTypeError(
                f"the keys of a protobuf map are str, int or bool, not {type_text(arguments[0])}",
                "write a list of dataclasses with a key and a value",
            )
        self._check_element(value, "a map")
        return Part("message", "map", _entry(key, value))

    def _check_element(self, part: Part, container: str) -> None:
        if part.shape != "single":
            inner = "a list" if part.shape == "repeated" else "a map"
            raise UnfitTypeError(f"in protobuf {container} cannot contain {inner}", _OWN_MESSAGE)
        if part.takes_none and part.message is not VALUE:
            raise UnfitTypeError(f"in protobuf {container} cannot contain None", _OWN_MESSAGE)

    def _union(self, annotation: Any, kind: str | None, depth: int) -> Part:
        members = list(members_of(annotation, depth))
        rest = [one for one in members if one is not type(None) and one is not msgspec.UnsetType]
        takes_none, takes_unset = type(None) in members, msgspec.UnsetType in members
        if takes_none and takes_unset:
            raise UnfitTypeError("an absent field is either None or UNSET", "leave one of the two out")
        if not rest:
            raise unknown_type(annotation)
        if len(rest) == 1:
            found = self.part(rest[0], kind, depth + 1)
        else:
            refuse_kind(kind, annotation)
            found = Part("message", message=self._oneof(rest))
        if found.shape != "single" and (takes_none or takes_unset):
            raise UnfitTypeError(
                "in protobuf a list or a map is never absent, only empty",
                "leave None out, or " + _OWN_MESSAGE,
            )
        return found._replace(
            takes_none=takes_none or found.takes_none, takes_unset=takes_unset or found.takes_unset
        )

    def _oneof(self, members: list[Any]) -> ProtoMessage:
        """Return the message of a union of Structs."""
        for one in members:
            if not _is_tagged(get_origin(one) or one):
                raise UnfitTypeError(
                    "the members of a union must be Structs",
                    "make each member a msgspec.Struct with a tag, which is a separate message; for a `oneof` of an"
                    " existing .proto file, give the members fields that may be None, with their numbers",
                )
        union = reduce(or_, members)
        known = self.messages.get(union)
        if known is None:
            name = "Or".join(map(class_name, members))
            known = self.messages[union] = ProtoMessage(name, "union", union)
            known.fields = [
                ProtoField(snake(class_name(one)), at, "message", message=self.message(one))
                for at, one in enumerate(members, 1)
            ]
            for field in known.fields:
                field.is_required = False
            check_fields(known)
        return known

    def _choice(self, values: tuple[Any, ...]) -> Part:
        given = [value for value in values if value is not None]
        takes_none = len(given) < len(values)
        if given and all(isinstance(value, str) for value in given):
            return Part("string", takes_none=takes_none)
        if given and all(isinstance(value, int) and not isinstance(value, bool) for value in given):
            return Part("int64", takes_none=takes_none)
        raise UnfitTypeError("its literals are of several types", "write Literal of only texts, or an Enum")

    def _enum(self, cls: Any) -> ProtoEnum:
        known = self.enums.get(cls)
        if known is not None:
            return known
        by_value = issubclass(cls, int | Flag)
        # Iterating over a flag yields only its members: its further names are combinations of members.
        every = cls if issubclass(cls, Flag) or not by_value else cls.__members__.values()
        names = cls.__members__ if every is not cls else [one.name for one in cls]
        members = tuple(
            EnumMember(name, one.value if by_value else at, one.value)
            for at, (name, one) in enumerate(zip(names, every, strict=True), 1)
        )
        for one in members:
            if one.number not in _INT32:
                raise UnfitTypeError(
                    f"{cls.__name__}.{one.name} is beyond 32 bits", "make it an int, or an Enum of texts"
                )
        found = self.enums[cls] = ProtoEnum(cls, members, by_value=by_value)
        self._place(found, cls)
        return found

    # Classes

    def message(self, annotation: Any) -> ProtoMessage:
        """Return the message of a class with fields.

        Raises:
            UnfitTypeError: protobuf cannot express a field; the text names the field.
        """
        known = ANY if annotation is AnyMessage else self.messages.get(annotation)
        if known is not None:
            return known
        owner = get_origin(annotation) or annotation
        described = payload_class(owner)
        values = dict(zip(getattr(owner, "__parameters__", ()), get_args(annotation), strict=False))
        config = getattr(owner, "__struct_config__", None)
        is_row = described.kind == "named_tuple" or (config is not None and config.array_like)
        found = ProtoMessage(
            class_name(annotation), "row" if is_row else "map", annotation, head=_head(owner, is_row=is_row)
        )
        found.declared = declared_of(owner)
        # Register the message before its fields, because the class may contain itself.
        self.messages[annotation] = found
        try:
            for at, field in enumerate(described.fields, 1):
                annotated = substitute(field.annotation, values)
                found.fields.append(self._field(field._replace(annotation=annotated), at, found.form))
            check_fields(found)
        except BaseException:
            del self.messages[annotation]
            # The message of a nested class may still refer to this message as its outer message.
            found.fields.clear()
            raise
        self._place(found, owner)
        return found

    def _place(self, found: ProtoMessage | ProtoEnum, owner: type[Any]) -> None:
        """Set the name of a message or enum, its outer message, and its file if that is not the service's file."""
        found.declared = declared_of(owner)
        found.name = found.declared.own_name or found.name
        outer = outer_of(owner)
        if outer is not None and is_message_class(outer) and not getattr(outer, "__parameters__", ()):
            found.outer = self._outer(outer)
        elif found.declared.name and (found.declared.file or found.declared.package != self._package):
            found.set_elsewhere(found.declared.name, found.declared.file or file_of(found.declared.package))

    def _outer(self, cls: type[Any]) -> ProtoMessage:
        """Return the message of a class in whose body another class is defined."""
        try:
            return self.message(cls)
        except UnfitTypeError:
            found = self._places.get(cls)
            if found is None:
                found = self._places[cls] = ProtoMessage(class_name(cls), "map", cls)
                self._place(found, cls)
            return found

    def _field(self, field: PayloadField, position: int, form: str) -> ProtoField:
        try:
            return self.field(field, position, is_row=form == "row")
        except UnfitTypeError as error:
            raise UnfitTypeError(f"its field {field.name!r}: {error.reason}", error.hint) from None

    def field(
        self, field: PayloadField, position: int, *, key: str | int | None = None, is_row: bool = False
    ) -> ProtoField:
        """Return a field of a message, or a parameter.

        Args:
            position: the number of the field if `Field` states none.
            key: the key in the plain map, if it is not the field's name on the wire.
            is_row: True if the plain value is an array, in which every field needs a value.
        """
        part, marks = self.part(field.annotation), marks_of(field.annotation)
        made = ProtoField(
            (marks and marks.name) or field_name(field.name),
            (marks and marks.number) or position,
            part.kind,
            part.shape,
            key=field.wire_name if key is None else key,
            message=part.message,
            enum=part.enum,
        )
        if isinstance(key, int):
            made.name_key = packed(field.name)
        _set_absence(made, part, field)
        if marks is not None and marks.oneof is not None:
            _set_oneof(made, part, marks.oneof, field)
        if is_row and made.absent is None and not field.is_required:
            if field.default is NOTHING:
                raise UnfitTypeError("its default is made anew for each object", "leave array_like out")
            made.absent = packed(field.default)
        return made


def is_message_class(annotation: Any) -> bool:
    """Return whether a type is a class with fields, which becomes a message."""
    owner = get_origin(annotation) or annotation
    if not isinstance(owner, type) or owner.__module__ in {"builtins", "msgspec"}:
        return False
    return payload_class(owner).kind in {"dataclass", "struct", "typed_dict", "named_tuple"}


# The meaning of absence


def _set_absence(made: ProtoField, part: Part, field: PayloadField) -> None:
    has_default = field.default is not NOTHING or field.factory is not NOTHING
    made.is_required = field.is_required
    if part.shape != "single":
        made.absent = made.zero()
    elif part.message is VALUE:
        # None is an ordinary value here. It is omitted if a missing field means None.
        if field.default is None or not has_default:
            made.takes_none, made.absent = True, packed(None)
    elif part.takes_none:
        if not field.is_required and field.default is not None:
            raise UnfitTypeError(
                "an absent field is either None or its default", "make None the default, or leave None out"
            )
        made.takes_none, made.is_optional, made.absent = True, part.kind != "message", packed(None)
    elif part.takes_unset:
        if has_default and field.default is not msgspec.UNSET:
            raise UnfitTypeError("an absent field is either UNSET or its default", "make UNSET the default")
        made.is_optional = part.kind != "message"
    elif field.is_required or _is_zero(_default_of(field, made), made):
        made.absent = made.zero()
    else:
        made.is_optional = part.kind != "message"


def _set_oneof(made: ProtoField, part: Part, oneof: str, field: PayloadField) -> None:
    if part.shape != "single":
        raise FieldError(f"{field.name!r} is in the oneof {oneof!r}, which holds no list and no map")
    if not (part.takes_none or part.takes_unset or part.message is VALUE):
        raise FieldError(
            f"{field.name!r} is in the oneof {oneof!r}, so it may be absent: write"
            f" {type_text(field.annotation)} | None"
        )
    made.oneof, made.is_optional = oneof, False


def _default_of(field: PayloadField, made: ProtoField) -> Any:
    """Return the default of a field. An enum's default comes from its factory, which may need the finished class."""
    is_made = made.enum is not None and field.factory is not NOTHING
    return field.factory() if is_made else field.default


def _is_zero(default: Any, made: ProtoField) -> bool:
    """Return whether a default is the zero of the type, so that the field need not be `optional`."""
    if default is NOTHING or made.kind == "message":
        return False
    if made.kind in {"double", "float"} and type(default) is int:
        default = float(default)
    try:
        return packed(default) == made.zero()
    except TypeError:
        return False


def _entry(key: Part, value: Part) -> ProtoMessage:
    """Return the message for the entries of a map."""
    found = ProtoMessage("Entry", "entry")
    found.fields = [
        ProtoField("key", 1, key.kind),
        ProtoField("value", 2, value.kind, message=value.message, enum=value.enum),
    ]
    for field in found.fields:
        field.is_always_written = True
        field.absent = field.zero()
    if value.message is VALUE:
        found.fields[1].absent = packed(None)
    elif value.message is not None:
        found.fields[1].is_filled = True
    return found


def _number_kind(owner: Any, kind: str | None) -> str:
    """Return the kind of a scalar; for a number, the kind that `Field` states."""
    if kind == NARROW_FLOAT:
        kind = "float" if owner is float else None
    if kind is None:
        return _SCALARS[owner]
    if kind not in {int: INTEGER_KINDS, float: FLOAT_KINDS}.get(owner, ()):
        refuse_kind(kind, owner)
    return kind


def _is_tagged(owner: Any) -> bool:
    config = getattr(owner, "__struct_config__", None)
    return config is not None and config.tag is not None


def _head(owner: Any, *, is_row: bool) -> bytes:
    """Return the encoded tag with which the plain value of a Struct starts; b"" without a tag."""
    if not _is_tagged(owner):
        return b""
    config = owner.__struct_config__
    return packed(config.tag) if is_row else packed(config.tag_field) + packed(config.tag)
