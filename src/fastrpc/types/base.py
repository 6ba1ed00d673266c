"""The interface of payload types, and the table that finds one by its class.

msgspec calls a hook for each value of a class that it does not know. The hook finds the `PayloadType` here: registered
by the program, or for a library by the module of the class, so that no library is imported for it.
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

#: Prepares the conversion of plain values to a type that this one holds.
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

#: Classes whose subclasses msgspec encodes like themselves, without asking the hook; so are subclasses of `uuid.UUID`.
_ENCODED_AS_BASE: Final = (list, tuple, set, frozenset, dict, Enum)

_registered: set[type[Any]] = set()

#: The payload types used so far, registered ones included.
_known: dict[type[Any], "PayloadType"] = {}


class ModelField(NamedTuple):
    """A field of a class that validates by itself."""

    name: str
    #: The key of the field in the payload; None if it has no key, or different keys for encoding and decoding.
    wire_name: str | None
    annotation: Any
    is_required: bool
    default: Any
    #: The function that makes the default; None if `default` is the default.
    factory: Any = None


class ModelKeys(NamedTuple):
    """The keys that a class reads from a payload before it validates them itself."""

    #: The type of the value at each key.
    types: dict[str, Any]
    #: Whether it handles keys that are none of its fields.
    takes_others: bool


class Mistake(NamedTuple):
    """A mistake in a value whose class validates by itself."""

    #: Where it is below the value, such as ".lines[0].price".
    place: str
    #: The words of the validation.
    reason: str
    #: The expected form, and the type that was found. Never a part of the value, which may be secret.
    expected: str
    got: str


class MistakesError(ValueError):
    """A value whose class validates by itself is refused.

    Attributes:
        mistakes: all of them, at least one; the text names the first ones.
    """

    def __init__(self, text: str, mistakes: Sequence[Mistake]) -> None:
        super().__init__(text)
        self.mistakes = mistakes


class PayloadType(NamedTuple):
    """The conversion of one class's values to values that msgspec encodes, and back."""

    #: (value, codec name) -> a value that msgspec encodes; TypeError or ValueError if this one cannot travel.
    encode: Callable[[Any, str], Any]
    #: (annotation, inner) -> a function from the plain value to the value, whose ValueError names the misfit; TypeError
    #: if values of this annotation cannot be decoded.
    decoder: Callable[[Any, Inner], Callable[[Any], Any]]
    #: The type whose payload an annotation of this class has, if it holds values of other types.
    plain_type: Callable[[Any], Any] | None = None
    #: Returns the fields of a class that validates them itself.
    fields: Callable[[Any], list[ModelField]] | None = None
    #: Returns the keys that such a class accepts; None if its payload is the payload of its one field.
    keys: Callable[[Any], ModelKeys | None] | None = None
    #: Whether values are arrays, and whether they may have arrays inside.
    is_array: bool = False
    may_hold_arrays: bool = False
    #: Whether no sender can predict the hashes of values.
    is_seeded: bool = False
    #: Returns the JSON Schema of a class; None if any JSON value is possible, or `plain_type` has it.
    schema: Callable[[Any], dict[str, Any]] | None = None
    #: Returns the JSON Schema of values as they are sent; None if they are sent in the form in which they are taken.
    sent_schema: Callable[[Any], dict[str, Any]] | None = None


def register(cls: type[T], /, *, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Make a class a payload type, in this whole process.

    A registration applies to exactly this class, not to subclasses. Register it before a service with it is added or
    called: until then, the class is refused.

    Args:
        encode: returns anything that msgspec encodes, or another payload type.
        decode: gets the plain form of `encode`'s result (dicts, lists, texts, numbers) and returns the value. Its
            ValueError is a mistake of the caller, INVALID_ARGUMENT; any other exception is a failure of the handler,
            INTERNAL.

    Raises:
        ConfigError: the class is registered already, or travels without being registered.
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
    """Return the payload type of a class that msgspec does not know; None if it cannot travel."""
    known = _known.get(cls)
    if known is not None:
        return known
    for base in cls.__mro__:
        # Classes of protobuf that were made at run time have no module.
        library = _LIBRARIES.get((base.__module__ or "").partition(".")[0])
        if library is not None:
            known = importlib.import_module(library).payload_type(cls)
            break
    if known is not None:
        _known[cls] = known
    return known


def encode_value(codec_name: str, value: Any) -> Any:
    """Return the form of a value that msgspec encodes; TypeError if there is no such form."""
    known = find(type(value))
    if known is None and _is_native(type(value)):
        # # msgspec asks for it only as a key.
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
    """Whether msgspec itself encodes or decodes the class."""
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
            # This is not a TypeError, which would blame the caller.
            raise RuntimeError(
                f"`decode` of {cls.__qualname__} returned a {type(value).__name__}, not an instance of it"
            )
        return value

    return PayloadType(lambda value, codec: encode(value), decoder, may_hold_arrays=True)
