"""A protobuf schema as plain objects: messages, their fields, enums."""

from collections.abc import Sequence
from enum import Flag
from typing import Any, Final, NamedTuple

import msgspec

from fastrpc._core.protobuf.message import MessageSchema
from fastrpc.rpc.protobuf.declared import Declared

__all__ = [
    "ANY",
    "DURATION",
    "EMPTY",
    "KINDS",
    "KNOWN",
    "TIMESTAMP",
    "VALUE",
    "WRAPPED",
    "EnumMember",
    "FieldSpec",
    "ProtoEnum",
    "ProtoField",
    "ProtoMessage",
    "ProtoType",
    "packed",
]

#: The numbers of field types in google.protobuf.FieldDescriptorProto.Type.
KINDS: Final = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "fixed64": 6,
    "fixed32": 7,
    "bool": 8,
    "string": 9,
    "message": 11,
    "bytes": 12,
    "uint32": 13,
    "enum": 14,
    "sfixed32": 15,
    "sfixed64": 16,
    "sint32": 17,
    "sint64": 18,
    # The kinds below are not types of protobuf: they mark members of google.protobuf.Value for the codec.
    "null": 32,
    "number": 33,
}

#: The zero of each scalar, as a plain value.
_ZEROS: Final[dict[str, Any]] = {
    "string": "",
    "bytes": b"",
    "bool": False,
    "double": 0.0,
    "float": 0.0,
    "null": None,
}

#: The kind of the value in each wrapper message.
WRAPPED: Final = {
    "BoolValue": "bool",
    "BytesValue": "bytes",
    "DoubleValue": "double",
    "FloatValue": "float",
    "Int32Value": "int32",
    "Int64Value": "int64",
    "StringValue": "string",
    "UInt32Value": "uint32",
    "UInt64Value": "uint64",
}
#: The files of messages whose file has another name than the message.
_FILES: Final = {
    **dict.fromkeys(("Value", "Struct", "ListValue"), "struct"),
    **dict.fromkeys(WRAPPED, "wrappers"),
    "FieldMask": "field_mask",
}

packed = msgspec.msgpack.Encoder().encode
_unpacked: Final = msgspec.msgpack.Decoder().decode

_NIL: Final = packed(None)


class EnumMember(NamedTuple):
    """A member of an enum: the name in Python, the protobuf number, and the value in our payloads."""

    name: str
    number: int
    value: str | int


class ProtoType:
    """A message or an enum.

    Args:
        name: the name in the schema, before equal names are made unique.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.declared = Declared()
        #: The message in which this type is nested.
        self.outer: ProtoMessage | None = None
        self._elsewhere: tuple[str | None, str | None] = None, None

    @property
    def known_as(self) -> str | None:
        """The full name of a type that is defined in another file; None for a type in its service's file."""
        place = None if self.outer is None else self.outer.known_as
        return self._elsewhere[0] if place is None else f"{place}.{self.name}"

    @property
    def file(self) -> str | None:
        """The file of a type that is defined in another file; None for a type in its service's file."""
        return self._elsewhere[1] if self.outer is None else self.outer.file

    def set_elsewhere(self, known_as: str, file: str) -> None:
        self._elsewhere = known_as, file


class ProtoEnum(ProtoType):
    """An enum. Its number 0 is UNSPECIFIED unless a member has it.

    Args:
        members: one for each name. Members with the same number have the same value.
        by_value: True if the numbers are the values in our payloads.
    """

    def __init__(self, cls: type[Any], members: tuple[EnumMember, ...], *, by_value: bool) -> None:
        super().__init__(cls.__name__)
        self.cls = cls
        self.members = members
        self.by_value = by_value

    @property
    def zero(self) -> EnumMember | None:
        """The member with the number 0."""
        return next((member for member in self.members if member.number == 0), None)

    @property
    def zero_value(self) -> str | int | None:
        """The value for the number 0: the member's value, or 0 for a flag. None means that the field is missing."""
        if issubclass(self.cls, Flag):
            return 0
        return None if self.zero is None else self.zero.value


class FieldSpec(NamedTuple):
    """A field for the compiled tables of `_core/protobuf/message`."""

    name: str
    number: int
    kind: int
    shape: str
    key: bytes
    name_key: bytes | None
    absent: bytes | None
    has_presence: bool
    takes_none: bool
    zero_is_absent: bool
    is_filled: bool
    oneof: int
    message: MessageSchema | None
    values: list[tuple[int, bytes]] | None


class ProtoField:
    """A field of a message.

    Args:
        kind: a key of `KINDS`.
        shape: "single", "repeated", or "map". The type of a map's entries is `message`.
        key: the key of the field in the plain map of the message.
    """

    def __init__(
        self,
        name: str,
        number: int,
        kind: str,
        shape: str = "single",
        *,
        key: str | int | None = None,
        message: "ProtoMessage | None" = None,
        enum: ProtoEnum | None = None,
    ) -> None:
        self.name = name
        self.number = number
        self.kind = kind
        self.shape = shape
        self.message = message
        self.enum = enum
        #: The key of the field in the plain map, as a value (`plain_key`) and encoded (`key`).
        self.plain_key = name if key is None else key
        self.key = packed(self.plain_key)
        #: The encoded name, if `key` is a position: arguments may be a map with names as keys.
        self.name_key: bytes | None = packed(name) if isinstance(key, int) else None
        #: True if the field has no default in Python.
        self.is_required = True
        #: True if a missing field differs from a zero, so that the schema says `optional`.
        self.is_optional = False
        #: The oneof to which the field belongs.
        self.oneof: str | None = None
        #: True if None is a valid value. For None the field is omitted.
        self.takes_none = False
        #: The encoded plain value for a missing field; None to omit the field in the plain value.
        self.absent: bytes | None = None
        #: True if a missing message means an empty message, as in an entry of a map.
        self.is_filled = False
        #: True if a zero is written rather than omitted.
        self.is_always_written = False

    @property
    def json_name(self) -> str:
        """The name in JSON: `user_id` becomes `userId`."""
        first, *rest = self.name.split("_")
        return first + "".join(word[:1].upper() + word[1:] for word in rest)

    @property
    def entry_name(self) -> str:
        """The name of the message for a map's entries: UserIdsEntry for `user_ids`."""
        name = self.json_name
        return f"{name[:1].upper()}{name[1:]}Entry"

    @property
    def has_presence(self) -> bool:
        """True if a zero scalar differs from a missing scalar."""
        return self.is_optional or self.oneof is not None

    @property
    def is_any(self) -> bool:
        """True if the field's value may have any type, even None."""
        return self.shape == "single" and self.message is VALUE

    def zero(self) -> bytes | None:
        """Return the encoded zero of the type; None if the type has no zero."""
        if self.shape != "single":
            return packed({} if self.shape == "map" else [])
        if self.enum is not None:
            return None if self.enum.zero_value is None else packed(self.enum.zero_value)
        return None if self.kind == "message" else packed(_ZEROS.get(self.kind, 0))

    def spec(self, oneofs: Sequence[str]) -> FieldSpec:
        """Return the field for the compiled tables.

        Args:
            oneofs: the names of all oneofs in the field's message.
        """
        values = None
        if self.enum is not None and not self.enum.by_value:
            values = [(member.number, packed(member.value)) for member in self.enum.members]
        return FieldSpec(
            self.name,
            self.number,
            KINDS[self.kind],
            self.shape,
            self.key,
            self.name_key,
            self.absent,
            self.has_presence or self.is_always_written,
            self.takes_none,
            self.enum is not None and self.enum.zero_value is None,
            self.is_filled,
            0 if self.oneof is None else oneofs.index(self.oneof) + 1,
            None if self.message is None else self.message.compiled(),
            values,
        )


class ProtoMessage(ProtoType):
    """A message.

    Args:
        name: see `ProtoType`.
        form: the form of the plain value; see `MessageSchema`.
        owner: the Python type of the message; None for the arguments or the result of a method.
        head: the encoded tag of a Struct; see `MessageSchema`.
    """

    def __init__(self, name: str, form: str, owner: Any = None, *, head: bytes = b"") -> None:
        super().__init__(name)
        self.form = form
        self.owner = owner
        self.head = head
        self.fields: list[ProtoField] = []
        #: True if the plain value may also be an array, as for arguments.
        self.has_row = False
        self._compiled: MessageSchema | None = None

    @property
    def tag(self) -> dict[str, Any]:
        """The tag of a Struct as a map of tag field and tag; empty without a tag."""
        if not self.head:
            return {}
        found: dict[str, Any] = _unpacked(b"\x81" + self.head)
        return found

    @property
    def oneofs(self) -> list[str]:
        """The names of the message's oneofs, in the order of their first fields."""
        return list(dict.fromkeys(field.oneof for field in self.fields if field.oneof is not None))

    @property
    def is_bare(self) -> bool:
        """True if the message's JSON is the JSON of its only field."""
        return self.form == "value" and self.known_as is not None

    def compiled(self) -> MessageSchema:
        """Return the compiled table of the message."""
        if self._compiled is None:
            # Create the table before its fields, because the message may contain itself.
            self._compiled = MessageSchema(self.name, self.form, head=self.head, has_row=self.has_row)
            oneofs = self.oneofs
            self._compiled.define([field.spec(oneofs) for field in self.fields])
        return self._compiled


def _known(name: str, form: str, fields: tuple[tuple[str, str], ...] = ()) -> ProtoMessage:
    made = ProtoMessage(name, form)
    file = f"google/protobuf/{_FILES.get(name, name.lower())}.proto"
    made.set_elsewhere(f"google.protobuf.{name}", file)
    made.fields = [ProtoField(field, at, kind) for at, (field, kind) in enumerate(fields, 1)]
    return made


def _wrapper(name: str, kind: str, shape: str = "single", field: str = "value") -> ProtoMessage:
    made = _known(name, "value")
    made.fields = [ProtoField(field, 1, kind, shape)]
    made.fields[0].absent = made.fields[0].zero()
    return made


def _any() -> ProtoMessage:
    made = _known("Any", "row", (("type_url", "string"), ("value", "bytes")))
    for field in made.fields:
        field.absent = field.zero()
    return made


def _values() -> tuple[ProtoMessage, ProtoMessage, ProtoMessage]:
    """Return google.protobuf.Value, Struct and ListValue."""
    value = _known("Value", "any")
    struct, values = _known("Struct", "value"), _known("ListValue", "value")
    entry = ProtoMessage("FieldsEntry", "entry")
    entry.fields = [ProtoField("key", 1, "string"), ProtoField("value", 2, "message", message=value)]
    entry.fields[0].absent, entry.fields[1].absent = packed(""), _NIL
    struct.fields = [ProtoField("fields", 1, "message", "map", message=entry)]
    values.fields = [ProtoField("values", 1, "message", "repeated", message=value)]
    value.fields = [
        ProtoField("null_value", 1, "null"),
        ProtoField("number_value", 2, "number"),
        ProtoField("string_value", 3, "string"),
        ProtoField("bool_value", 4, "bool"),
        ProtoField("struct_value", 5, "message", message=struct),
        ProtoField("list_value", 6, "message", message=values),
    ]
    return value, struct, values


ANY: Final = _any()
EMPTY: Final = _known("Empty", "nothing")
TIMESTAMP: Final = _known("Timestamp", "timestamp", (("seconds", "int64"), ("nanos", "int32")))
DURATION: Final = _known("Duration", "duration", (("seconds", "int64"), ("nanos", "int32")))
_VALUES: Final = _values()
VALUE: Final = _VALUES[0]

#: The messages of google.protobuf that correspond to a Python type, by full name.
KNOWN: Final = {
    str(one.known_as): one
    for one in (
        *(_wrapper(name, kind) for name, kind in WRAPPED.items()),
        _wrapper("FieldMask", "string", "repeated", "paths"),
        *(ANY, DURATION, TIMESTAMP, *_VALUES),
    )
}
