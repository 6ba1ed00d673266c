"""All mistakes in refused arguments, found by a second pass: decoding stops at the first one.

A part that does not decode is opened, and its own parts are decoded one by one. So only refused parts are looked at,
each by a decoder of its type. Types are told and never values, which may be secret.

Any peer can send what does not fit: beyond the bounds the search ends with the mistakes found so far. To decode a long
part again would hold the loop as long as the first time: of such a part the mistake is told that refused it.
"""

import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple, NewType, Union, get_args, get_origin
from weakref import WeakKeyDictionary

import msgspec

from fastrpc._core.payload.arguments import described_error
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.schema.annotation import substitute, type_text, unaliased
from fastrpc.rpc.schema.conversion import hooks_for
from fastrpc.rpc.schema.payload_classes import PayloadClass, payload_class
from fastrpc.rpc.schema.type_graph import MAPS, ROWS, is_hashable
from fastrpc.rpc.schema.wide_integers import wide_integer_decoder
from fastrpc.types.base import Mistake, MistakesError, find

__all__ = ["mistakes_in"]

#: The most mistakes that are told.
_MOST_FOUND: Final = 50

#: The most values that are opened, and the most bytes beyond two passes over a payload.
_MOST_VALUES: Final = 10_000
_MORE_BYTES: Final = 1 << 16

#: The most bytes that are decoded again of a payload that has more.
_DECODED_BYTES: Final = 1 << 20

#: The longest path and type that are told.
_LONGEST: Final = 200

_CODECS: Final[Mapping[str, Any]] = {"json": msgspec.json, "msgpack": msgspec.msgpack}
_FAILURES: Final = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)

_OF_TYPED_DICTS: Final = (typing.Required, typing.NotRequired)

_EXPECTED: Final = re.compile(r"expected (?P<expected>.*?)(?:, got (?P<got>.*))?")
_NAMED: Final = re.compile(r"object (?P<missing>missing required|contains unknown) field (?P<name>.*)")


class _Part(NamedTuple):
    """A part of a value: its type, its payload, None where it is missing, and its place."""

    kind: Any
    raw: bytes | None
    path: str


class _EnoughError(Exception):
    """The search has reached its bounds."""


#: The decoders of each method that refused arguments, by codec.
_readers: WeakKeyDictionary[MethodDefinition, dict[str, "_Reader"]] = WeakKeyDictionary()


def mistakes_in(method: MethodDefinition, codec: str, payload: bytes, first: str) -> list[dict[str, str]]:
    """Return the mistakes in the arguments of a method.

    Args:
        codec: "json" or "msgpack".
        payload: a map by name whose sizes and keys were accepted before.
        first: the text of the error that refused it.
    """
    readers = _readers.setdefault(method, {})
    search = _Search(readers.setdefault(codec, _Reader(codec)), payload, first)
    try:
        opened = search.map(payload) if payload else {}
        given = {method.renamed.get(name, name): raw for name, raw in opened.items()}
        known = list(zip(method.parameters, method.types().parameters, strict=True))
        for name in given.keys() - {parameter.name for parameter, _ in known}:
            search.note(name, "nothing", search.type_of(given[name]))
        for parameter, kind in known:
            if parameter.name in given or parameter.is_required:
                search.look(_Part(kind, given.get(parameter.name), parameter.name))
    except Exception:
        # The bounds, or a type of the program that fails at what comes: the mistakes found so far are told.
        return search.found
    return search.found


class _Reader:
    """The decoders of one codec."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self.map = _CODECS[codec].Decoder(dict[str, msgspec.Raw]).decode
        self.row = _CODECS[codec].Decoder(list[msgspec.Raw]).decode
        self._nothing = _CODECS[codec].Decoder(None).decode
        self._decoders: dict[Any, Callable[[Any], Any]] = {}

    def decode(self, kind: Any, raw: bytes) -> Any:
        key = kind if is_hashable(kind) else repr(kind)
        if key not in self._decoders:
            hooks = hooks_for(self._codec, kind)
            arguments = {} if hooks is None else {"dec_hook": hooks.dec_hook}
            decode = _CODECS[self._codec].Decoder(kind, **arguments).decode
            self._decoders[key] = wide_integer_decoder(decode, kind) if self._codec == "json" else decode
        return self._decoders[key](raw)

    def type_of(self, raw: bytes) -> str:
        """Return the name of the type of a value, as msgspec calls it."""
        try:
            self._nothing(raw)
        except msgspec.ValidationError as error:
            named = _EXPECTED.fullmatch(str(error).lower())
            got = "float" if named is None else named["got"].strip("`")
            # Of JSON it reads a long integer as a float.
            return "int" if got == "float" and bytes(raw).strip(b" \t\r\n-").isdigit() else got
        return "null"


class _Search:
    """The search of one payload."""

    def __init__(self, reader: _Reader, payload: bytes, first: str) -> None:
        self.found: list[dict[str, str]] = []
        self._reader = reader
        self._values = _MOST_VALUES
        self._bytes = 2 * len(payload) + _MORE_BYTES
        self._decodable = _DECODED_BYTES if len(payload) > _DECODED_BYTES else self._bytes
        self._first_path, _, self._first_text = first.partition(": ")

    def look(self, part: _Part) -> None:
        """Note the mistakes in a part of the payload."""
        if part.raw is None:
            self.note(part.path, type_text(part.kind), "nothing")
            return
        self._count(0, len(part.raw) // 2)
        self._decodable -= len(part.raw)
        if self._decodable < 0:
            if self._first_path.startswith(part.path):
                self._note_text(self._first_path, self._first_text)
            return
        try:
            self._reader.decode(part.kind, part.raw)
        except _FAILURES as error:
            before = len(self.found)
            try:
                for inner in _Parts(self, part).of(part.kind):
                    self.look(inner)
            finally:
                if len(self.found) == before:
                    self._note_error(part, error)

    def note(self, path: str, expected: str, got: str) -> None:
        self.found.append({"path": path[:_LONGEST], "expected": expected[:_LONGEST], "got": got})
        if len(self.found) == _MOST_FOUND:
            raise _EnoughError

    def map(self, raw: bytes) -> dict[str, bytes]:
        opened: dict[str, bytes] = self._opened(self._reader.map, raw)
        return opened

    def row(self, raw: bytes) -> list[bytes]:
        opened: list[bytes] = self._opened(self._reader.row, raw)
        return opened

    def type_of(self, raw: bytes) -> str:
        return self._reader.type_of(raw)

    def _opened(self, decode: Callable[[bytes], Any], raw: bytes) -> Any:
        self._count(0, len(raw))
        opened = decode(raw)
        self._count(len(opened), 0)
        return opened

    def _count(self, values: int, size: int) -> None:
        self._values -= values
        self._bytes -= size
        if self._values < 0 or self._bytes < 0:
            raise _EnoughError

    def _note_error(self, part: _Part, error: Exception) -> None:
        """Note the error of a decoder for a part that has no smaller wrong part."""
        assert part.raw is not None
        path, _, text = described_error(error, part.path, ()).partition(": ")
        told = _told_in(error)
        if told:
            self._note_told(path.removesuffix(told[0].place), told)
        elif path == part.path:
            self._note_text(path, text, type_text(part.kind), self.type_of(part.raw))
        else:
            self._note_text(path, text)

    def _note_text(self, path: str, text: str, expected: str = "another value", got: str = "") -> None:
        """Note a mistake by a text of msgspec; other texts may hold the value."""
        named, said = _NAMED.fullmatch(text), _EXPECTED.fullmatch(text)
        if named is not None:
            path = f"{path}.{named['name'].strip('`')}"
            is_missing = named["missing"] == "missing required"
            expected, got = ("a value", "nothing") if is_missing else ("nothing", "a value")
        elif said is not None:
            expected, got = said["expected"].replace("`", ""), got or (said["got"] or "").strip("`")
        self.note(path, expected, got or "another value")

    def _note_told(self, path: str, mistakes: Sequence[Mistake]) -> None:
        """Note the mistakes that a class has found in its value; one place may have those of each member of a union."""
        expected: dict[tuple[str, str], list[str]] = {}
        for one in mistakes:
            expected.setdefault((one.place, one.got), []).append(one.expected)
        for (place, got), forms in expected.items():
            self.note(path + place, " or ".join(dict.fromkeys(forms)), got)


def _named(kind: Any) -> Any:
    """Return the type behind a name or metadata; any other type itself."""
    if isinstance(kind, NewType):
        return kind.__supertype__
    return get_args(kind)[0] if get_origin(kind) is Annotated else unaliased(kind)


def _told_in(error: BaseException | None) -> Sequence[Mistake]:
    """Return the mistakes that a class which validates by itself has found; empty if another one has refused."""
    while error is not None and not isinstance(error, MistakesError):
        error = error.__cause__
    return () if error is None else error.mistakes


class _Parts:
    """The parts of a value that are looked at by themselves."""

    def __init__(self, search: _Search, part: _Part) -> None:
        assert part.raw is not None
        self._search = search
        self._raw = part.raw
        self._path = part.path
        self._type = search.type_of(part.raw)

    def of(self, kind: Any) -> Iterator[_Part]:
        """Yield the parts of the value as one of a type; none if the value has another form."""
        while (named := _named(kind)) is not kind:
            kind = named
        origin, arguments = get_origin(kind) or kind, get_args(kind)
        if origin in {Union, types.UnionType}:
            fitting = [one for one in arguments if self._has_form_of(one)]
            # Of several the value does not tell which one was meant.
            yield from self.of(fitting[0]) if len(fitting) == 1 else ()
        elif origin in MAPS and self._type == "object" and arguments:
            for item in self._search.map(self._raw).values():
                # A key is data, too.
                yield _Part(arguments[1], item, f"{self._path}[...]")
        elif origin in ROWS and self._type == "array" and arguments:
            yield from self._items(origin, arguments)
        elif isinstance(origin, type) and find(origin) is None:
            yield from self._fields(payload_class(origin), arguments)

    def _has_form_of(self, kind: Any) -> bool:
        form = get_origin(kind) or kind
        if form in MAPS or form in ROWS:
            return self._type == ("object" if form in MAPS else "array")
        return (
            isinstance(form, type) and self._type in {"object", "array"} and bool(payload_class(form).fields)
        )

    def _items(self, origin: Any, arguments: tuple[Any, ...]) -> Iterator[_Part]:
        items = self._search.row(self._raw)
        if origin is tuple and Ellipsis not in arguments:
            kinds: tuple[Any, ...] = arguments if len(items) == len(arguments) else ()
        else:
            kinds = arguments[:1] * len(items)
        for at, (kind, item) in enumerate(zip(kinds, items, strict=False)):
            yield _Part(kind, item, f"{self._path}[{at}]")

    def _fields(self, known: PayloadClass, arguments: tuple[Any, ...]) -> Iterator[_Part]:
        if known.kind not in {"struct", "dataclass", "typed_dict"} or self._type != "object":
            return
        given = self._search.map(self._raw)
        variables = dict(zip(getattr(known.cls, "__parameters__", ()), arguments, strict=False))
        for field in known.fields:
            if field.wire_name in given or field.is_required:
                kind = substitute(field.annotation, variables)
                if get_origin(kind) in _OF_TYPED_DICTS:
                    kind = get_args(kind)[0]
                yield _Part(kind, given.get(field.wire_name), f"{self._path}.{field.wire_name}")
