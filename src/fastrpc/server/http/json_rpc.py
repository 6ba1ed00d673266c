"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification) at a fixed path of the HTTP gateway.

::

    {"jsonrpc": "2.0", "method": "shop.price", "params": {"item": "tea"}, "id": 1}
    {"jsonrpc": "2.0", "result": 250, "id": 1}

Each entry of a batch is a call of its own before the gate. Their answers go out together, in the order of the entries.
"""

from typing import Any, Final

import msgspec

from fastrpc._core.gateway.problems import problem
from fastrpc._core.payload.double_keys import find_double_key
from fastrpc._core.payload.payload_scan import PayloadScan
from fastrpc._core.serving.exchange import Failure
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

#: The types of an id.
_IDENTIFIERS: Final = frozenset({str, int, float, type(None)})

_NOTHING: Final = msgspec.Raw(b"null")

#: What is told of a result that is left out: the call was made.
_TOO_LARGE: Final = {"code": Status.RESOURCE_EXHAUSTED.name, "processed": "yes"}

_decode_entry = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _EntryError(Exception):
    """An entry that is no request."""

    def __init__(self, code: int, message: str, identifier: msgspec.Raw = _NOTHING) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.identifier = identifier


def json_rpc_path(*, depth: int, items: int, answer_bytes: int) -> Path:
    """Return what answers at the path of JSON-RPC.

    Args:
        depth: deepest nesting of a body.
        items: most values in a body.
        answer_bytes: most bytes of all results and errors of a batch. Beyond them no result is sent, and of an error
            only its code.
    """
    scan = PayloadScan(_JSON)

    def handle(request: HttpRequest) -> HttpAnswer | None:
        found, _ = scan.scan(request.body, max_depth=depth, max_items=items)
        try:
            if found != "ok":
                raise _EntryError(_SHAPE, f"the body is {found}")
            return _Answering(request, request.body, answer_bytes).begin()
        except _EntryError as error:
            return _answer([_error(error.code, error.message, error.identifier)], is_batch=False)

    return Path(
        verbs=("POST",),
        handle=handle,
        content_types=("application/json",),
        needs_identity=True,
        takes_messages=True,
    )


class _Answering:
    """One body on its way to its answer."""

    def __init__(self, request: HttpRequest, body: bytes, answer_bytes: int) -> None:
        self._request = request
        self._left = answer_bytes
        self._is_batch = body.lstrip()[:1] == b"["
        try:
            # Decoded as a whole: an entry that is cut off makes all of the body no JSON.
            msgspec.json.decode(body)
            self._entries = _decode_batch(body) if self._is_batch else [msgspec.Raw(body)]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise _EntryError(_PARSE, "the body is no JSON") from None
        if self._is_batch and not 0 < len(self._entries) <= _MOST_ENTRIES:
            text = f"a batch has 1 to {_MOST_ENTRIES} entries, this one has {len(self._entries)}"
            raise _EntryError(_SHAPE, text)
        # By position; None for notifications, which have no answer.
        self._answers: list[dict[str, Any] | None] = [None] * len(self._entries)
        self._waiting = 0
        self._has_begun = False

    def begin(self) -> HttpAnswer | None:
        """Begin all calls; return the answer where there is nothing to wait for."""
        for position, entry in enumerate(self._entries):
            try:
                self._call(position, bytes(entry))
            except _EntryError as error:
                self._answers[position] = _error(error.code, error.message, error.identifier)
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
            self._answers[position] = self._bounded(outcome, identifier)
            self._waiting -= 1
            if self._has_begun and not self._waiting:
                self._request.answer(self._whole())

        self._request.call(method, parameters, done)

    def _bounded(self, outcome: Outcome, identifier: msgspec.Raw) -> dict[str, Any]:
        """Return the answer to an entry; of a batch a short error where what it is no longer fits."""
        failure = outcome.failure
        # A text may grow sixfold as it is escaped.
        size = len(outcome.value or b"") if failure is None else len(failure.details) + 6 * len(failure.text)
        if self._is_batch and size > self._left:
            return self._cut(failure, size, identifier)
        self._left -= size
        return _outcome(outcome, identifier)

    def _cut(self, failure: Failure | None, size: int, identifier: msgspec.Raw) -> dict[str, Any]:
        """Return the error in place of an answer that does not fit."""
        if failure is None:
            text = f"the result has {size} bytes, {self._left} are left for this batch (Limits.message_bytes)"
            return _error(_OTHER, text, identifier, _TOO_LARGE)
        text = "the error is left out: the answers to this batch are too large (Limits.message_bytes)"
        data = _data(Failure(failure.status, "", pushback_ms=failure.pushback_ms, has_run=failure.has_run))
        return _error(_code_of(failure), text, identifier, data)

    def _named(self, method: str, parameters: bytes) -> bytes:
        """Return parameters by name instead of position; those that the method has not keep their numbers as names."""
        route = self._request.routes.get(method)
        values = msgspec.json.decode(parameters, type=list[msgspec.Raw])
        known = () if route is None else route.definition.parameters
        names = [parameter.name for parameter in known if parameter.by_position]
        named = {(names[at] if at < len(names) else str(at)): value for at, value in enumerate(values)}
        return msgspec.json.encode(named)

    def _whole(self) -> HttpAnswer:
        return _answer([answer for answer in self._answers if answer is not None], is_batch=self._is_batch)


def _opened(raw: bytes) -> tuple[str, bytes, msgspec.Raw | None]:
    """Return method, parameters and id of an entry; without an id it is a notification."""
    try:
        entry = _decode_entry(raw)
    except (msgspec.MsgspecError, ValueError):
        raise _EntryError(_SHAPE, "a request must be an object") from None
    identifier = entry.get("id")
    # A bool is an int to Python.
    if identifier is not None and type(msgspec.json.decode(identifier)) not in _IDENTIFIERS:
        raise _EntryError(_SHAPE, "id must be a text, a number or null")
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
            f"{min(unknown)!r:.100} is no member of a request: there are jsonrpc, method, params and id",
            answered,
        )
    method = msgspec.json.decode(entry.get("method", _NOTHING))
    if not isinstance(method, str) or not method:
        raise _EntryError(_SHAPE, "method must be the name of a method, such as shop.price", answered)
    parameters = bytes(entry.get("params", b"{}"))
    if parameters[:1] not in (b"{", b"["):
        raise _EntryError(_SHAPE, "params must be an object or an array", answered)
    return method, parameters, identifier


def _drop(outcome: Outcome) -> None:
    """A notification that was refused has no answer either."""


def _outcome(outcome: Outcome, identifier: msgspec.Raw) -> dict[str, Any]:
    failure = outcome.failure
    if failure is None:
        return {"jsonrpc": "2.0", "result": msgspec.Raw(outcome.value or b"null"), "id": identifier}
    return _error(_code_of(failure), failure.text, identifier, _data(failure))


def _code_of(failure: Failure) -> int:
    code = _CODES.get(Status(failure.status), _OTHER)
    # A handler that is not implemented is known.
    return _OTHER if code == _UNKNOWN and failure.has_run else code


def _data(failure: Failure) -> dict[str, Any]:
    document = problem(failure, _JSON)
    return {
        name: document[name] for name in ("code", "processed", "retry_after", "details") if name in document
    }


def _error(
    code: int, message: str, identifier: msgspec.Raw, data: dict[str, Any] | None = None
) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "error": error, "id": identifier}


def _answer(answers: list[dict[str, Any]], *, is_batch: bool) -> HttpAnswer:
    if not answers:
        return HttpAnswer(204)
    return HttpAnswer(200, "application/json", msgspec.json.encode(answers if is_batch else answers[0]))
