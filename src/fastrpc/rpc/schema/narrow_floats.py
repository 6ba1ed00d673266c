"""Encode numbers in 32 bits where the types of a method contain `Float32`, which `types/floats.py` defines.

::

    Point(x=1.5, name="a")  ──►  a copy with x=Raw(ca 3f c0 00 00)  ──►  encoded as usual

The writers of a type replace each number annotated with `Float32` by its encoded form. Objects keep their class, so
that names, tags and omitted defaults are unchanged. Values of a wrong type are unchanged too, because the receiver
refuses them. Methods without such numbers use the plain encoders.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, get_origin

import msgspec
from msgspec import inspect as schema

from fastrpc._core.payload.coders import PayloadCoders
from fastrpc.rpc.definition import MethodTypes
from fastrpc.rpc.schema.type_graph import parts_within
from fastrpc.rpc.schema.type_writers import TypeWriters, Writer, key_writer, place_writer
from fastrpc.types.floats import Float32, packed, packed_key, shortest_float

__all__ = ["narrowed"]

#: Codecs whose payload is not made of msgpack or JSON values.
_FORMLESS: Final = frozenset({"raw", "protobuf"})


def narrowed(
    coders: PayloadCoders, types: MethodTypes, names: Sequence[str], *, by_value: str | None
) -> PayloadCoders:
    """Return coders that encode `Float32` numbers in 32 bits; the same coders if no type contains them.

    Args:
        types: the types of the method.
        names: the names of the method's parameters.
        by_value: the form of arguments in a single value, as for `Marshal`; None if they are an array or a map.
    """
    if coders.codec in _FORMLESS or not _holds_floats(
        schema.multi_type_info((*types.parameters, types.result, types.message))
    ):
        return coders
    writers = (
        _Writers(packed, packed_key)
        if coders.codec == "msgpack"
        else _Writers(shortest_float, shortest_float)
    )
    parameters = [writers.of(schema.type_info(kind)) for kind in types.parameters]
    given = parameters[0] if by_value in {"whole", "either"} else _argument_writer(names, parameters)
    return PayloadCoders(
        coders.codec,
        coders.codec_id,
        encode=(
            _before(coders.encode_arguments, given),
            _before(coders.encode_result, writers.of(schema.type_info(types.result))),
            _before(coders.encode_message, writers.of(schema.type_info(types.message))),
        ),
        decode=(coders.decode_result, coders.decode_message),
        exact=coders.exact,
        open=coders.open,
        items=coders.items,
        scan=(coders.scan_arguments, coders.scan_result, coders.scan_message),
    )


def _is_float32(part: schema.Type) -> bool:
    extra = part.extra if isinstance(part, schema.Metadata) else None
    return extra is not None and (Float32.extra or {}).items() <= extra.items()


def _holds_floats(parts: Iterable[schema.Type]) -> bool:
    return any(map(_is_float32, parts_within(parts)))


def _before(encode: Callable[[Any], bytes], write: Writer | None) -> Callable[[Any], bytes]:
    return encode if write is None else lambda value: encode(write(value))


def _argument_writer(names: Sequence[str], writers: Sequence[Writer | None]) -> Writer | None:
    """Return the writer of arguments, which are a tuple, or a map with names and positions as keys."""
    write_row = place_writer(writers)
    write_map = key_writer(dict(enumerate(writers)) | dict(zip(names, writers, strict=True)))
    if write_row is None or write_map is None:
        return None
    return lambda given: write_row(given) if isinstance(given, tuple) else write_map(given)


class _Writers(TypeWriters):
    """Creates the writers of a method's types."""

    rows = (schema.ListType, schema.VarTupleType, schema.SetType, schema.FrozenSetType)

    def __init__(self, write_float: Writer, write_key: Writer) -> None:
        self._write_float = write_float
        self._write_key = write_key
        self._of_classes: dict[Any, _ObjectWriter] = {}

    def concerns(self, part: Any) -> bool:
        """Return whether a type contains a Float32."""
        return _holds_floats([part])

    def own(self, part: Any) -> Writer | None:
        """Return the writer of a Float32; None for any other type."""
        return self._write_float if _is_float32(part) else None

    def of_class(self, part: Any) -> Writer:
        """Return the writer that copies the objects of a class."""
        known = self._of_classes.get(part.cls)
        if known is None:
            known = self._of_classes[part.cls] = _ObjectWriter(get_origin(part.cls) or part.cls)
            for field in part.fields:
                if (write := self.of(field.type)) is not None:
                    known.fields.append((field.name, field.default, write))
        return known

    def of_map(self, part: schema.DictType) -> Writer | None:
        """Return the writer of keys and values."""
        write_key = self._write_key if _holds_floats([part.key_type]) else None
        write = self.of(part.value_type)
        if write is None and write_key is None:
            return None

        def write_map(value: Any) -> Any:
            if not isinstance(value, dict):
                return value
            keys = value if write_key is None else list(map(write_key, value))
            items = value.values() if write is None else map(write, value.values())
            found = dict(zip(keys, items, strict=True))
            if len(found) != len(value):
                raise ValueError("two keys of a map are the same number in Float32")
            return found

        return write_map

    def of_union(self, part: schema.UnionType) -> Writer | None:
        """Return a writer that selects a member by the value's class. At most one member is an array or a map."""
        by_class: dict[type, Writer] = {}
        others: list[Writer] = []
        for member in part.types:
            write = self.of(member)
            if isinstance(write, _ObjectWriter):
                by_class[write.cls] = write
            if write is not None:
                others.append(write)
        if not others:
            return None
        if any(isinstance(member, schema.IntType) for member in part.types):
            by_class[int] = _same

        def write_member(value: Any) -> Any:
            known = by_class.get(type(value))
            return _first_change(others, value) if known is None else known(value)

        return write_member


class _ObjectWriter:
    """Copies objects of a class and its subclasses. In the copies the fields are ready for an encoder."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        #: For each field to change: its name, its default, and the writer of its values.
        self.fields: list[tuple[str, Any, Writer]] = []

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, self.cls):
            return value
        omits_defaults = isinstance(value, msgspec.Struct) and value.__struct_config__.omit_defaults
        changed = {}
        for name, default, write in self.fields:
            field = getattr(value, name, msgspec.UNSET)
            # msgspec omits a default that is the same object, so do not replace it.
            if omits_defaults and field is default:
                continue
            written = write(field)
            if written is not field:
                changed[name] = written
        return _copied(value, changed) if changed else value


def _copied(value: Any, changed: Mapping[str, Any]) -> Any:
    """Return a copy of an object with other values in some fields, even if the fields' types do not allow them."""
    if isinstance(value, msgspec.Struct):
        copied = copy.copy(value)
        for name, field in changed.items():
            msgspec.structs.force_setattr(copied, name, field)
        return copied
    # Create the object as msgspec's decoder does: without calling `__init__`, and even if the class is frozen.
    copied = object.__new__(type(value))
    for name, field in {**_attributes(value), **changed}.items():
        object.__setattr__(copied, name, field)
    return copied


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, including slots."""
    slots: Iterable[str] = (
        slot for cls in type(value).__mro__ for slot in _slots(cls) if slot not in {"__weakref__", "__dict__"}
    )
    found = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
    return found | getattr(value, "__dict__", {})


def _slots(cls: type[Any]) -> Iterable[str]:
    given = vars(cls).get("__slots__", ())
    return (given,) if isinstance(given, str) else given


def _same(value: Any) -> Any:
    return value


def _first_change(writers: Iterable[Writer], value: Any) -> Any:
    for write in writers:
        found = write(value)
        if found is not value:
            return found
    return value
