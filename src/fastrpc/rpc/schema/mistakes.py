"""Find all mistakes in refused arguments by a second pass, because decoding stops at the first mistake.

If a part cannot be decoded, it is opened and its own parts are decoded one by one, each by the decoder of its type. So
only refused parts are examined. Reports contain types, but never values, which may be secret.

Any peer can send invalid payloads, so the search has limits: beyond them it returns the mistakes that it has found.
Decoding a long part again would block the loop for as long as the first time. For such a part only the mistake of the
first pass is reported.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from fastrpc._core.payload.arguments import described_error, is_of_decoder
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.schema.annotation import type_text
from fastrpc.rpc.schema.conversion import hooks_for
from fastrpc.rpc.schema.type_graph import is_hashable
from fastrpc.rpc.schema.value_parts import ValuePart, parts_of
from fastrpc.rpc.schema.wide_integers import wide_integer_decoder
from fastrpc.types.base import Mistake, MistakesError

__all__ = ["mistakes_in"]

#: The most mistakes that are reported.
_MOST_FOUND: Final = 50

#: The most values that are opened.
_MOST_VALUES: Final = 10_000
#: The most bytes that are read: this many times the payload's size, plus `_MORE_BYTES`. Each level above a mistake
#: needs one and a half passes, to open a value and to decode its parts.
_MOST_PASSES: Final = 6
_MORE_BYTES: Final = 1 << 16

#: The most bytes of a larger payload that are decoded again.
_DECODED_BYTES: Final = 1 << 20

#: The longest reported path and type.
_LONGEST: Final = 200

_CODECS: Final[Mapping[str, Any]] = {"json": msgspec.json, "msgpack": msgspec.msgpack}
_FAILURES: Final = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)

#: Matches only error texts of msgspec. Error texts of a program may contain the value.
_EXPECTED: Final = re.compile(
    r"expected (?P<expected>`[^`]+`(?: with (?:a|no) timezone component|"
    r" of (?:at (?:least|most) )?length (?:[<>]= )?\d+(?: to \d+)?| [<>]=? [-+.\de]+|"
    r" that's a multiple of [-+.\de]+| matching regex (?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))?)"
    r"(?:, got (?:\d+|`(?P<got>array|bool|bytes|date|datetime|decimal|duration|ext|float|int|None|null|object|str|"
    r"time|uuid)`))?"
)
_NAMED: Final = re.compile(r"object (?P<missing>missing required|contains unknown) field `(?P<name>.*)`")
_GOT: Final = re.compile(r", got `(\w+)`")


class _EnoughError(Exception):
    """The search has reached a limit."""


#: The decoders of each method that refused arguments, by codec.
_readers: WeakKeyDictionary[MethodDefinition, dict[str, "_Reader"]] = WeakKeyDictionary()


def mistakes_in(method: MethodDefinition, codec: str, payload: bytes, first: str) -> list[dict[str, str]]:
    """Return the mistakes in the arguments of a method.

    Args:
        codec: "json" or "msgpack".
        payload: a map by name whose sizes and keys were accepted before.
        first: the text of the error with which decoding stopped.
    """
    readers = _readers.setdefault(method, {})
    search = _Search(readers.setdefault(codec, _Reader(codec)), payload, first)
    # The search has reached a limit, or Python's limit for recursion.
    with contextlib.suppress(_EnoughError, RecursionError):
        opened = search.map(payload) if payload else {}
        given = {method.renamed.get(name, name): raw for name, raw in opened.items()}
        known = list(zip(method.parameters, method.types().parameters, strict=True))
        for name in given.keys() - {parameter.name for parameter, _ in known}:
            search.note(name, "nothing", search.type_of(given[name]))
        for parameter, kind in known:
            if parameter.name in given or parameter.is_required:
                search.look(ValuePart(kind, given.get(parameter.name), parameter.name))
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
        """Return msgspec's name for the type of a value."""
        try:
            self._nothing(raw)
        except msgspec.MsgspecError as error:
            named = _GOT.search(str(error))
            if named is None:
                # The value is a number out of range, or malformed.
                got = "float" if isinstance(error, msgspec.ValidationError) else "another value"
            else:
                got = named[1]
            # msgspec decodes a long integer in JSON as a float.
            return "int" if got == "float" and bytes(raw).strip(b" \t\r\n-").isdigit() else got
        return "null"


class _Search:
    """The search of one payload."""

    def __init__(self, reader: _Reader, payload: bytes, first: str) -> None:
        self.found: list[dict[str, str]] = []
        self._reader = reader
        self._values = _MOST_VALUES
        self._bytes = _MOST_PASSES * len(payload) + _MORE_BYTES
        self._decodable = _DECODED_BYTES if len(payload) > _DECODED_BYTES else self._bytes
        self._first_path, _, self._first_text = first.partition(": ")

    def look(self, part: ValuePart) -> None:
        """Record the mistakes in a part of the payload."""
        if part.raw is None:
            self.note(part.path, type_text(part.kind), "nothing")
            return
        if len(part.raw) > self._decodable:
            below = (f"{part.path}.", f"{part.path}[")
            if self._first_path == part.path or self._first_path.startswith(below):
                self._note_text(self._first_path, self._first_text)
            return
        self._count(0, len(part.raw) // 2)
        self._decodable -= len(part.raw)
        try:
            self._reader.decode(part.kind, part.raw)
        except _FAILURES as error:
            self._look_into(part, error)
        except Exception:
            # A type of the program raised an unexpected error, which is not a mistake of the caller.
            return

    def _look_into(self, part: ValuePart, error: Exception) -> None:
        """Record the mistakes in the parts of a refused part, or the part's own error if these have no mistake."""
        before = len(self.found)
        try:
            # A map with keys that are not UTF-8 cannot be opened.
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                for inner in parts_of(self, part):
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

    def _note_error(self, part: ValuePart, error: Exception) -> None:
        """Record a decoder's error for a part whose own parts have no mistake."""
        assert part.raw is not None
        path, _, text = described_error(error, part.path, ()).partition(": ")
        text = text if is_of_decoder(error) else ""
        told = _told_in(error)
        if told:
            self._note_told(path.removesuffix(told[0].place), told)
        elif path == part.path:
            self._note_text(path, text, type_text(part.kind), self.type_of(part.raw))
        else:
            self._note_text(path, text)

    def _note_text(self, path: str, text: str, expected: str = "another value", got: str = "") -> None:
        """Record a mistake from an error text of msgspec. Other texts may contain the value and are not shown."""
        named, said = _NAMED.fullmatch(text), _EXPECTED.fullmatch(text)
        if named is not None:
            path = f"{path}.{named['name']}"
            is_missing = named["missing"] == "missing required"
            expected, got = ("a value", "nothing") if is_missing else ("nothing", "a value")
        elif said is not None:
            expected = said["expected"].replace("`", "")
            got = got or (said["got"] or "").replace("None", "null")
        self.note(path, expected, got or "another value")

    def _note_told(self, path: str, mistakes: Sequence[Mistake]) -> None:
        """Record the mistakes that a class reports for its value. A union may have several at the same place."""
        expected: dict[tuple[str, str], list[str]] = {}
        for one in mistakes:
            expected.setdefault((one.place, one.got), []).append(one.expected)
        for (place, got), forms in expected.items():
            self.note(path + place, " or ".join(dict.fromkeys(forms)), got)


def _told_in(error: BaseException | None) -> Sequence[Mistake]:
    """Return the mistakes that a self-validating class reported; empty if the error has another cause."""
    while error is not None and not isinstance(error, MistakesError):
        error = error.__cause__
    return () if error is None else error.mistakes
