"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification) at a fixed path of the HTTP gateway.

::

    {"jsonrpc": "2.0", "method": "shop.price", "params": {"item": "tea"}, "id": 1}
    {"jsonrpc": "2.0", "result": 250, "id": 1}

Each entry of a batch is a separate call. The answers are sent together, in the order of the entries.
"""

from collections.abc import Callable
from functools import cache
from itertools import chain
from typing import Any, Final

import msgspec

from fastrpc._core.http.responses import problem
from fastrpc._core.link.failure import Failure
from fastrpc._core.payload.coders import PayloadScan
from fastrpc._core.payload.double_keys import find_double_key
from fastrpc.assigned_numbers import CODECS
from fastrpc.server.http.paths import HttpAnswer, HttpRequest, Outcome, Path
from fastrpc.status import Status

__all__ = ["json_rpc_path"]

#: The most entries of a batch.
_MOST_ENTRIES: Final = 100

_JSON: Final = CODECS["json"]

_PARSE: Final = -32700
_SHAPE: Final = -32600
_UNKNOWN: Final = -32601
_PARAMETERS: Final = -32602
_INTERNAL: Final = -32603
_OTHER: Final = -32001

_CODES: Final = {
    Status.INVALID_ARGUMENT: _PARAMETERS,
    Status.UNIMPLEMENTED: _UNKNOWN,
    Status.INTERNAL: _INTERNAL,
}

#: The most bytes of a raw id. The id is kept until its answer, and no memory limit counts it.
_MOST_ID_BYTES: Final = 1_024

#: The possible first bytes of a text, a number and null.
_IDENTIFIER_STARTS: Final = (b'"', b"n", b"-", *(b"%d" % digit for digit in range(10)))

_NOTHING: Final = msgspec.Raw(b"null")
_NO_JSON: Final = "the body is not JSON"

#: The data of an error in place of a result that is too large. The call was executed.
_TOO_LARGE: Final = {"code": Status.RESOURCE_EXHAUSTED.name, "processed": "yes"}

#: Stands for a parameter that is not given.
_ABSENT: Final = msgspec.Raw(b"")

# These decoders create no objects for the content of a body: only the method decodes its parameters.
_check_whole = msgspec.json.Decoder(msgspec.Raw).decode
_decode_entry = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class _EntryError(Exception):
    """An entry is not a valid request."""

    def __init__(self, code: int, message: str, identifier: msgspec.Raw = _NOTHING) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.identifier = identifier


def json_rpc_path(*, depth: int, items: int, answer_bytes: int) -> Path:
    """Return the handler of the JSON-RPC path.

    Args:
        depth: the deepest nesting of a body.
        items: the most values in a body.
        answer_bytes: the most bytes of all results and errors of a batch. Beyond this, no results are sent, and errors
            without text.
    """
    scan = PayloadScan(_JSON)

    def handle(request: HttpRequest) -> HttpAnswer | None:
        found, _ = scan.scan(request.body, max_depth=depth, max_items=items)
        try:
            if found != "ok":
                raise _EntryError(_SHAPE, f"the body is {found}")
            return _Answering(request, request.body, answer_bytes).begin()
        except _EntryError as error:
            return _answer([[_error(error.code, error.message, error.identifier)]], is_batch=False)

    return Path(
        verbs=("POST",),
        handle=handle,
        content_types=("application/json",),
        needs_identity=True,
        takes_messages=True,
    )


class _Answering:
    """Answers one body."""

    def __init__(self, request: HttpRequest, body: bytes, answer_bytes: int) -> None:
        self._request = request
        self._left = answer_bytes
        # The bytes of finished answers of a batch that wait for other answers.
        self._held = 0
        self._is_batch = body.lstrip()[:1] == b"["
        try:
            # Decode the batch as a whole: if an entry is truncated, the whole body is not JSON.
            self._entries = _decode_batch(body) if self._is_batch else [msgspec.Raw(body)]
            if not body.isascii():
                body.decode()
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise _EntryError(_PARSE, _NO_JSON) from None
        if self._is_batch and not 0 < len(self._entries) <= _MOST_ENTRIES:
            text = f"a batch has 1 to {_MOST_ENTRIES} entries, this one has {len(self._entries)}"
            raise _EntryError(_SHAPE, text)
        # The answers by position, each in parts; None before the answer, and for a notification.
        self._answers: list[list[bytes] | None] = [None] * len(self._entries)
        self._waiting = 0
        self._has_begun = False

    def begin(self) -> HttpAnswer | None:
        """Start all calls; return the answer if it is already complete."""
        # Drop the entries, so that each call keeps only its own bytes.
        entries, self._entries = self._entries, []
        for position, entry in enumerate(entries):
            try:
                self._call(position, bytes(entry))
            except _EntryError as error:
                self._answers[position] = [_error(error.code, error.message, error.identifier)]
        self._has_begun = True
        return None if self._waiting else self._whole()

    def _call(self, position: int, raw: bytes) -> None:
        method, parameters, identifier = _opened(raw)
        if parameters.startswith(b"["):
            parameters = self._named(method, parameters)
        if identifier is None:
            self._request.call(method, parameters, _drop, one_way=True)
            return
        self._waiting += 1

        def done(outcome: Outcome) -> None:
            if self._answers[position] is not None:
                raise RuntimeError(f"the answer of {method} was taken, and cannot be replaced")
            self._answers[position] = answer = self._bounded(outcome, identifier)
            if self._is_batch:
                self._hold(sum(map(len, answer)))
            self._waiting -= 1
            if self._has_begun and not self._waiting:
                self._request.answer(self._whole())

        self._request.call(method, parameters, done)

    def _hold(self, change: int) -> None:
        """Count bytes of an answer that waits for other answers."""
        self._held += change
        self._request.count_answer(change)

    def _bounded(self, outcome: Outcome, identifier: msgspec.Raw) -> list[bytes]:
        """Return the answer to an entry; in a batch, a short error if the answer exceeds the remaining bytes."""
        failure = outcome.failure
        # Escaping may make a text six times as long.
        size = len(outcome.value or b"") if failure is None else len(failure.details) + 6 * len(failure.text)
        if self._is_batch and size > self._left:
            return self._cut(failure, size, identifier)
        self._left -= size
        return _outcome(outcome, identifier)

    def _cut(self, failure: Failure | None, size: int, identifier: msgspec.Raw) -> list[bytes]:
        """Return the short error in place of an answer that is too large."""
        if failure is None:
            text = f"the result has {size} bytes, {self._left} are left for this batch (Limits.message_bytes)"
            return [_error(_OTHER, text, identifier, _TOO_LARGE)]
        text = "the error is left out: the answers to this batch are too large (Limits.message_bytes)"
        data = _data(
            Failure(
                failure.status,
                "",
                pushback_ms=failure.pushback_ms,
                has_run=failure.has_run,
                goes_on=failure.goes_on,
            )
        )
        return [_error(_code_of(failure), text, identifier, data)]

    def _named(self, method: str, parameters: bytes) -> bytes:
        """Convert parameters by position to parameters by name. The name of a surplus parameter is its number."""
        route = self._request.routes.get(method)
        known = () if route is None else route.definition.parameters
        names = [parameter.name for parameter in known if parameter.by_position]
        # One surplus parameter suffices: it causes the refusal of the call.
        names.append(str(len(names)))
        values = _decoder_of(len(names))(parameters)
        given = zip(names, msgspec.structs.astuple(values), strict=True)
        return msgspec.json.encode({name: value for name, value in given if value is not _ABSENT})

    def _whole(self) -> HttpAnswer:
        self._hold(-self._held)
        # Drop the answers here: a program that keeps a call would keep them too.
        answers, self._answers = self._answers, []
        return _answer([answer for answer in answers if answer is not None], is_batch=self._is_batch)


@cache
def _decoder_of(count: int) -> Callable[[bytes], Any]:
    """Return a decoder that reads the first `count` values of an array and skips the others."""
    fields = [(f"at_{at}", msgspec.Raw, _ABSENT) for at in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("Positions", fields, array_like=True)).decode


def _opened(raw: bytes) -> tuple[str, bytes, msgspec.Raw | None]:
    """Return method, parameters and id of an entry. The id of a notification is None."""
    try:
        entry = _decode_entry(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        _check_json(raw)
        raise _EntryError(_SHAPE, "a request must be an object") from None
    identifier = _identifier_of(entry)
    answered = _NOTHING if identifier is None else identifier
    double = find_double_key(_JSON, raw)
    if double is not None:
        raise _EntryError(_SHAPE, f"{double!r:.100} comes twice in one map", answered)
    if bytes(entry.get("jsonrpc", b"")) != b'"2.0"':
        raise _EntryError(_SHAPE, 'jsonrpc must be "2.0"', answered)
    unknown = entry.keys() - {"jsonrpc", "method", "params", "id"}
    if unknown:
        raise _EntryError(
            _SHAPE,
            f"{min(unknown)!r:.100} is not a member of a request: there are jsonrpc, method, params and id",
            answered,
        )
    try:
        method = _decode_text(entry.get("method", _NOTHING))
    except msgspec.ValidationError:
        method = ""
    if not method:
        raise _EntryError(_SHAPE, "method must be the name of a method, such as shop.price", answered)
    parameters = bytes(entry.get("params", b"{}"))
    if parameters[:1] not in (b"{", b"["):
        raise _EntryError(_SHAPE, "params must be an object or an array", answered)
    return method, parameters, identifier


def _identifier_of(entry: dict[str, msgspec.Raw]) -> msgspec.Raw | None:
    """Return the raw id of an entry, or None. It is not decoded, because a number may be too large for Python."""
    told = entry.get("id")
    if told is None:
        return None
    # Copy the id, because a Raw keeps the whole buffer that contains it.
    identifier = bytes(told)
    if not identifier.startswith(_IDENTIFIER_STARTS):
        raise _EntryError(_SHAPE, "id must be a text, a number or null")
    if len(identifier) > _MOST_ID_BYTES:
        raise _EntryError(_SHAPE, f"id has {len(identifier)} bytes of JSON, the limit is {_MOST_ID_BYTES}")
    return msgspec.Raw(identifier)


def _check_json(raw: bytes) -> None:
    """Raise an error unless these bytes are JSON. Entries of a batch always are."""
    try:
        _check_whole(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _EntryError(_PARSE, _NO_JSON) from None


def _drop(outcome: Outcome) -> None:
    """Ignore the outcome of a notification, which has no answer even if it was refused."""


def _outcome(outcome: Outcome, identifier: msgspec.Raw) -> list[bytes]:
    failure = outcome.failure
    if failure is None:
        # Return parts, which are joined only once, in the answer to the whole body.
        value = outcome.value or b"null"
        return [b'{"jsonrpc":"2.0","result":', value, b',"id":', bytes(identifier), b"}"]
    return [_error(_code_of(failure), failure.text, identifier, _data(failure))]


def _code_of(failure: Failure) -> int:
    code = _CODES.get(Status(failure.status), _OTHER)
    # If the handler ran, the method exists, even if the handler answers UNIMPLEMENTED.
    return _OTHER if code == _UNKNOWN and failure.has_run else code


def _data(failure: Failure) -> dict[str, Any]:
    document = problem(failure, _JSON)
    return {
        name: document[name] for name in ("code", "processed", "retry_after", "details") if name in document
    }


def _error(code: int, message: str, identifier: msgspec.Raw, data: dict[str, Any] | None = None) -> bytes:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return msgspec.json.encode({"jsonrpc": "2.0", "error": error, "id": identifier})


def _answer(answers: list[list[bytes]], *, is_batch: bool) -> HttpAnswer:
    if not answers:
        return HttpAnswer(204)
    parts = answers[0]
    if is_batch:
        separated = ((b",", *answer) for answer in answers[1:])
        parts = [b"[", *answers[0], *chain.from_iterable(separated), b"]"]
    return HttpAnswer(200, "application/json", b"".join(parts))
