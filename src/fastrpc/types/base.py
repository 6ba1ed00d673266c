"""The interface of payload types, and their look-up by class.

msgspec calls a hook for each value of an unknown class. The hook looks up the `PayloadType` here: the program has
registered it, or this package has it for the class of a library. Libraries are recognized by the module of a class, so
that no library has to be imported.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, get_origin

import msgspec
from msgspec import inspect as schema

from fastrpc.errors import ConfigError

__all__ = [
    "ARRAY_EXTENSION",
    "Inner",
    "Mistake",
    "MistakesError",
    "ModelField",
    "ModelKeys",
    "PayloadType",
    "encode_value",
    "find",
    "register",
    "with_arrays",
]

T = TypeVar("T")

#: The msgpack extension type of numpy arrays.
ARRAY_EXTENSION: Final = 1

#: Returns the function that converts plain values to a type inside this type.
Inner: TypeAlias = Callable[[Any], Callable[[Any], Any]]

#: The file for the classes of a library, by the library's module.
_LIBRARIES: Final = {
    "fastrpc": "fastrpc.types.floats",
    "pathlib": "fastrpc.types.paths",
    "ipaddress": "fastrpc.types.addresses",
    "collections": "fastrpc.types.containers",
    "numpy": "fastrpc.types.arrays",
    "pydantic": "fastrpc.types.models",
    "pydantic_core": "fastrpc.types.models",
}

#: Classes whose subclasses msgspec encodes like the class itself, without calling the hook; also `uuid.UUID`, which is
#: recognized by the name of its module.
_ENCODED_AS_BASE: Final = (list, tuple, set, frozenset, dict, Enum)

_registered: set[type[Any]] = set()

#: The payload types used so far, registered ones included.
_known: dict[type[Any], "PayloadType"] = {}


class ModelField(NamedTuple):
    """A field of a class that validates its values itself."""

    name: str
    #: The key of the field in the payload; None if it has no key, or different keys for encoding and decoding.
    wire_name: str | None
    annotation: Any
    is_required: bool
    default: Any
    #: The function that makes the default; None if `default` is the default.
    factory: Any = None


class ModelKeys(NamedTuple):
    """The payload keys that a self-validating class reads."""

    #: The type of the value at each key.
    types: dict[str, Any]
    #: Whether the class handles keys that are not its fields.
    takes_others: bool


class Mistake(NamedTuple):
    """A mistake in a value of a self-validating class."""

    #: The path from the value to the mistake, such as ".lines[0].price".
    place: str
    #: The text of the validation.
    reason: str
    #: `expected`: the expected form. `got`: the actual type. Neither contains a part of the value, which may be secret.
    expected: str
    got: str


class MistakesError(ValueError):
    """A self-validating class has refused a value.

    Attributes:
        mistakes: all mistakes, at least one. The text names the first ones.
    """

    def __init__(self, text: str, mistakes: Sequence[Mistake]) -> None:
        super().__init__(text)
        self.mistakes = mistakes


class PayloadType(NamedTuple):
    """The conversion of one class's values to values that msgspec encodes, and back."""

    #: (value, codec name) -> a value that msgspec encodes; TypeError or ValueError if the value cannot be sent.
    encode: Callable[[Any, str], Any]
    #: (annotation, inner) -> a function that converts a plain value to the value, or raises a ValueError that names the
    #: mistake. TypeError if values of this annotation cannot be decoded.
    decoder: Callable[[Any, Inner], Callable[[Any], Any]]
    #: For a class that contains values of other types: returns the type with the same payload as an annotation.
    plain_type: Callable[[Any], Any] | None = None
    #: Returns the fields of a self-validating class.
    fields: Callable[[Any], list[ModelField]] | None = None
    #: Returns the keys that a self-validating class accepts; None if its payload is the payload of its only field.
    keys: Callable[[Any], ModelKeys | None] | None = None
    #: `is_array`: whether values are arrays. `may_hold_arrays`: whether they may contain arrays.
    is_array: bool = False
    may_hold_arrays: bool = False
    #: Whether hashes of values are seeded, so that no sender can predict them.
    is_seeded: bool = False
    #: Returns the JSON Schema of a class; None if any JSON value is possible, or `plain_type` has it.
    schema: Callable[[Any], dict[str, Any]] | None = None
    #: Returns the JSON Schema of sent values; None if it is the schema of received values.
    sent_schema: Callable[[Any], dict[str, Any]] | None = None


def register(cls: type[T], /, *, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Make a class a payload type in this process.

    A registration applies to exactly this class, not to subclasses. Register it before a service with it is added or
    called: until then, the class is refused.

    Args:
        encode: returns a value that msgspec encodes, or a value of another payload type.
        decode: gets the plain form of `encode`'s result (dicts, lists, texts, numbers) and returns the value. Its
            ValueError is a mistake of the caller, INVALID_ARGUMENT; any other exception is a failure of the handler,
            INTERNAL.

    Raises:
        ConfigError: the class is registered already, or needs no registration.
    """
    if not isinstance(cls, type):
        raise ConfigError(f"{cls!r} is not a class", hint="write register(Class, encode=…, decode=…)")
    name = f"{cls.__module__}.{cls.__qualname__}"
    for role, function in (("encode", encode), ("decode", decode)):
        if not callable(function):
            raise ConfigError(f"{role} of {name} is {function!r}, not a function")
    if cls in _registered:
        raise ConfigError(f"{name} is registered already", hint="register a class once, where it is defined")
    if cls is object or find(cls) is not None or _is_native(cls):
        raise ConfigError(f"{name} travels without being registered", hint="leave the call of register out")
    _registered.add(cls)
    _known[cls] = _own_type(cls, encode, decode)


def find(cls: type[Any]) -> PayloadType | None:
    """Return the payload type of a class that msgspec does not support; None if it cannot be sent."""
    known = _known.get(cls)
    if known is not None:
        return known
    for base in cls.__mro__:
        # Protobuf classes that were made at run time have no module.
        library = _LIBRARIES.get((base.__module__ or "").partition(".")[0])
        if library is not None:
            known = importlib.import_module(library).payload_type(cls)
            break
    if known is not None:
        _known[cls] = known
    return known


def encode_value(codec_name: str, value: Any) -> Any:
    """Convert a value to a form that msgspec encodes; TypeError if it cannot be sent."""
    known = find(type(value))
    if known is None and _is_native(type(value)):
        # msgspec itself encodes values of such a class. It calls this function only for a value that is a key of a map.
        hint = "; msgpack has such keys: codec='msgpack'" if codec_name == "json" else ""
        raise TypeError(f"{type(value).__name__} is not a type for a key of a map in {codec_name}{hint}")
    if known is None:
        raise TypeError(
            f"Encoding objects of type {type(value).__name__} is unsupported;"
            " make it a dataclass or a msgspec.Struct, or add it by fastrpc.types.register"
        )
    return known.encode(value, codec_name)


def with_arrays(plain: Any) -> Any:
    """Return a plain value with its arrays decoded, as the functions of other libraries expect them."""
    if "numpy" not in sys.modules:
        return plain
    if isinstance(plain, msgspec.msgpack.Ext) and plain.code == ARRAY_EXTENSION:
        return importlib.import_module(_LIBRARIES["numpy"]).array_in(memoryview(plain.data))
    if type(plain) is list:
        for at, item in enumerate(plain):
            plain[at] = with_arrays(item)
    elif type(plain) is dict:
        for key, item in plain.items():
            plain[key] = with_arrays(item)
    return plain


def _is_native(cls: type[Any]) -> bool:
    """Return whether msgspec itself encodes or decodes the class."""
    if issubclass(cls, _ENCODED_AS_BASE) or any(base.__module__ == "uuid" for base in cls.__mro__):
        return True
    try:
        return not isinstance(schema.type_info(cls), schema.CustomType)
    except (TypeError, NameError):  # a class with a field that has no type
        return True


def _own_type(cls: type[Any], encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> PayloadType:
    def decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
        if get_origin(annotation) is not None:
            raise TypeError(f"{annotation!r} is a registered type, whose `decode` sees no type arguments")
        return convert

    def convert(plain: Any) -> Any:
        value = decode(with_arrays(plain))
        if not isinstance(value, cls):
            # Not a TypeError, which would report a mistake of the caller.
            raise RuntimeError(
                f"`decode` of {cls.__qualname__} returned a {type(value).__name__}, not an instance of it"
            )
        return value

    return PayloadType(lambda value, codec: encode(value), decoder, may_hold_arrays=True)
