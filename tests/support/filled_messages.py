"""Messages of protobuf with values in their fields: no values, zeros, and others."""

from collections.abc import Iterator
from typing import Any

__all__ = ["filled_messages"]

#: google.protobuf.FieldDescriptor.CPPTYPE_*, with two values each: a zero and another one.
_VALUES: dict[int, tuple[Any, Any]] = {
    1: (0, -7),
    2: (0, -(1 << 40)),
    3: (0, (1 << 32) - 1),
    4: (0, (1 << 64) - 1),
    5: (0.0, -1.5),
    6: (0.0, 0.25),
    7: (False, True),
    9: ("", "täxt"),
}
_ENUM, _TEXT, _MESSAGE = 8, 9, 10
_BYTES = 12
#: Messages whose values are not any ones of their fields.
_KNOWN = frozenset(
    f"google.protobuf.{name}" for name in ("Duration", "ListValue", "Struct", "Timestamp", "Value")
)
#: How deep messages are filled.
_DEEPEST = 3


def filled_messages(cls: Any) -> Iterator[Any]:
    """Yield messages of a class: without values, with one of each member of a oneof, with zeros, with other values."""
    if cls.DESCRIPTOR.full_name != "google.protobuf.Value":
        # Without a value it is null.
        yield cls()
    if cls.DESCRIPTOR.full_name in _KNOWN:
        for which in (0, 1):
            made = cls()
            _fill_message(made, which, 0)
            yield made
        return
    fields = [field for field in cls.DESCRIPTOR.fields if field.type != 10]
    for which in (0, 1):
        made = cls()
        for field in fields:
            if field.containing_oneof is None or len(field.containing_oneof.fields) == 1:
                _fill(made, field, which, 0)
        yield made
        for oneof in cls.DESCRIPTOR.oneofs:
            for field in oneof.fields:
                made = cls()
                _fill(made, field, which, 0)
                yield made


def _fill(made: Any, field: Any, which: int, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _fill_map(made, field, which, depth)
    elif field.is_repeated:
        for _ in range(2 * which):
            if field.message_type is not None:
                _fill_message(getattr(made, field.name).add(), which, depth + 1)
            else:
                getattr(made, field.name).append(_value(field, which))
    elif field.message_type is not None:
        if depth < _DEEPEST:
            getattr(made, field.name).SetInParent()
            _fill_message(getattr(made, field.name), which, depth + 1)
    else:
        setattr(made, field.name, _value(field, which))


def _fill_map(made: Any, field: Any, which: int, depth: int) -> None:
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    found = getattr(made, field.name)
    if value.message_type is not None:
        _fill_message(found[_value(key, which)], which, depth + 1)
    else:
        found[_value(key, which)] = _value(value, which)


def _fill_message(made: Any, which: int, depth: int) -> None:
    name = made.DESCRIPTOR.full_name
    if name == "google.protobuf.Value":
        made.string_value = "text" * which
    elif name == "google.protobuf.ListValue":
        made.values.add().number_value = 1.5 * which
    elif name == "google.protobuf.Struct":
        made.fields["key"].bool_value = bool(which)
    elif name in {"google.protobuf.Timestamp", "google.protobuf.Duration"}:
        made.seconds, made.nanos = 5 * which, 1000 * which
    else:
        seen = set()
        for field in made.DESCRIPTOR.fields:
            oneof = field.containing_oneof
            if field.type != 10 and (oneof is None or oneof.name not in seen) and depth < _DEEPEST:
                seen |= set() if oneof is None else {oneof.name}
                _fill(made, field, which, depth)


def _value(field: Any, which: int) -> Any:
    if field.cpp_type == _ENUM:
        numbers = [value.number for value in field.enum_type.values]
        return numbers[0] if not which else numbers[-1]
    if field.type == _BYTES:
        return b"\x00\xff" * which
    return _VALUES[field.cpp_type][which]
