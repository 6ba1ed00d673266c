"""Defaults of parameters and fields as source: `Color.RED`, `Decimal('1.5')`, `(1, 2)`."""

import datetime
import math
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from fastrpc.rpc.schema.payload_classes import NOTHING, PayloadField
from fastrpc.rpc.schema.type_names import TypeNames, module_of
from fastrpc.rpc.signature import LONGEST_DEFAULT

__all__ = ["UNKNOWN", "default_text", "field_default_text"]

#: Stands for a default without a short form.
UNKNOWN: Final = "..."

#: Factories of defaults, by module and name, that always return the same empty value.
_EMPTY: Final = {
    **{f"builtins.{name}": text for name, text in (("list", "[]"), ("dict", "{}"), ("tuple", "()"))},
    **{f"builtins.{name}": f"{name}()" for name in ("set", "frozenset", "bytearray")},
    **{f"collections.{name}": f"{name}()" for name in ("deque", "Counter", "OrderedDict")},
}
#: The most characters of a default that is not a plain value.
_LONGEST: Final = 500

_PLAIN: Final = frozenset({bool, int, str, bytes, type(None)})

#: Types whose values are written as a call of the type with a text, such as `Decimal('1.5')`.
_BY_TEXT: Final = frozenset(
    {
        *("decimal.Decimal", "uuid.UUID"),
        *(f"pathlib.{name}" for name in ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")),
        *(f"ipaddress.IPv{v}{kind}" for v in "46" for kind in ("Address", "Interface", "Network")),
    }
)


def default_text(value: Any, names: TypeNames) -> str:
    """Return a default as source, with the class names of a description; `...` if it has no short form."""
    text = _written(value, names)
    longest = LONGEST_DEFAULT if type(value) in _PLAIN else _LONGEST
    return UNKNOWN if text is None or len(text) > longest else text


def field_default_text(field: PayloadField, names: TypeNames) -> str | None:
    """Return the default of a field as source; `...` if it has no short form, None without a default."""
    if field.is_required:
        return None
    if field.factory is not NOTHING:
        return _EMPTY.get(_full_name(field.factory), UNKNOWN)
    return UNKNOWN if field.default is NOTHING else default_text(field.default, names)


def _written(value: Any, names: TypeNames) -> str | None:
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    if kind is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    if kind.__name__ == "UnsetType":
        return "UNSET"
    if isinstance(value, Enum):
        name = names.of_class(kind)
        is_member = kind.__members__.get(str(value.name)) is value and str(value.name).isidentifier()
        inner = None if is_member else _written(value.value, names)
        return f"{name}.{value.name}" if is_member else (inner and f"{name}({inner})")
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | datetime.tzinfo):
        return _instant(value, names)
    if _full_name(kind) in _BY_TEXT:
        return f"{names.of_class(kind)}({str(value)!r})"
    writer = _CONTAINERS.get(kind)
    return None if writer is None else writer(value, names)


def _full_name(kind: Any) -> str:
    return f"{module_of(kind)}.{getattr(kind, '__qualname__', '')}"


def _instant(value: Any, names: TypeNames) -> str | None:
    kind = type(value)
    if kind is datetime.timezone:
        name = names.of_class(kind)
        offset = None if value is datetime.UTC else _instant(value.utcoffset(None), names)
        return f"{name}.utc" if value is datetime.UTC else f"{name}({offset})"
    if kind is datetime.timedelta:
        parts = {name: getattr(value, name) for name in ("days", "seconds", "microseconds")}
        inner = ", ".join(f"{name}={amount}" for name, amount in parts.items() if amount)
        return f"{names.of_class(kind)}({inner})"
    if kind is datetime.date:
        return f"{names.of_class(kind)}({value.year}, {value.month}, {value.day})"
    if kind not in {datetime.datetime, datetime.time}:
        return None
    fields = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    numbers = [str(getattr(value, name)) for name in (fields if kind is datetime.datetime else fields[3:])]
    if value.tzinfo is not None:
        zone = _instant(value.tzinfo, names) if type(value.tzinfo) is datetime.timezone else None
        if zone is None:
            return None
        numbers.append(f"tzinfo={zone}")
    return f"{names.of_class(kind)}({', '.join(numbers)})"


def _items(values: Any, names: TypeNames) -> list[str] | None:
    found = [_written(value, names) for value in values]
    return None if None in found else [text for text in found if text is not None]


def _tuple(value: Any, names: TypeNames) -> str | None:
    items = _items(value, names)
    return None if items is None else f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _list(value: Any, names: TypeNames) -> str | None:
    items = _items(value, names)
    return None if items is None else f"[{', '.join(items)}]"


def _set(value: Any, names: TypeNames) -> str | None:
    items = _items(value, names)
    if not items:
        return None if items is None else "set()"
    # Sorted, because the order of a set's items differs between runs.
    return f"{{{', '.join(sorted(items))}}}"


def _frozen_set(value: Any, names: TypeNames) -> str | None:
    if not value:
        return "frozenset()"
    inner = _set(value, names)
    return inner and f"frozenset({inner})"


def _dict(value: Any, names: TypeNames) -> str | None:
    keys, values = _items(value, names), _items(value.values(), names)
    if keys is None or values is None:
        return None
    return f"{{{', '.join(f'{key}: {one}' for key, one in zip(keys, values, strict=True))}}}"


_CONTAINERS: Final[dict[type[Any], Callable[[Any, TypeNames], str | None]]] = {
    tuple: _tuple,
    list: _list,
    set: _set,
    frozenset: _frozen_set,
    dict: _dict,
}
