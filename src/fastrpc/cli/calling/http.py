"""`fastrpc call http://…`: one call by HTTP, like a call of a program that does not have fastrpc."""

import http.client
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from fastrpc.cli.calling.http_place import HttpPlace, PlaceConnection, request_head
from fastrpc.cli.calling.method_kinds import INPUT_MARK, KindName, needs_method
from fastrpc.cli.calling.standard_streams import LONGEST_LINE, read_lines_blocking
from fastrpc.cli.calling.values import read_arguments, read_message
from fastrpc.cli.printing import counted, line_of, print_json, print_note, print_value
from fastrpc.errors import CallError, ConfigError, ConnectionLostError, FastRPCError
from fastrpc.gateway.dialing import Dialing
from fastrpc.rpc.description import nearest_name
from fastrpc.status import Status

__all__ = ["HttpCall", "call_by_http"]

_LINES = "application/x-ndjson"
_JSON = "application/json"

#: The most methods that are listed if no method resembles the given name.
SHOWN_NAMES = 10

#: _TYPES: types of JSON Schema for which the command line parses plain values. Values of any other type (_OTHER) must
#: be JSON.
_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_OTHER = "object"

_INPUT_HINT = f"write {INPUT_MARK} in place of its stream, and give the messages as lines on standard input"


class HttpCall(NamedTuple):
    """A call in the form of the command line."""

    method: str
    texts: Sequence[str]
    metadata: Mapping[str, str]
    kind: KindName | None
    #: Seconds for the call; None means `default_seconds`, and no limit for a stream.
    timeout: float | None
    default_seconds: float
    as_json: bool


def call_by_http(address: str, dial: Dialing, wanted: HttpCall) -> None:
    """Call a method, and print its answer or each message of its stream.

    Raises:
        FastRPCError: the call failed, as a native call would.
        ConfigError: the address, or an argument, cannot be used.
    """
    given = wanted.metadata.get("authorization")
    # A credential in the call's metadata replaces the command's credential, as in the native protocol.
    place = HttpPlace(address, dial, None if given is None else _field_value(given))
    asked = time.monotonic()
    described = _Described.of(place, wanted)
    texts = [text for text in wanted.texts if text != INPUT_MARK]
    has_input = len(texts) < len(wanted.texts)
    if described.kind in {"client_stream", "both_ways"} and not has_input:
        raise ConfigError(f"{wanted.method} takes a stream of messages", hint=_INPUT_HINT)
    arguments = _named(wanted.method, texts, described)
    is_limited = wanted.timeout is not None or (described.kind == "unary" and not has_input)
    seconds = (wanted.timeout or wanted.default_seconds) if is_limited else None
    begun = time.monotonic()
    # A limit that the user gave covers the whole command; the default limit covers only the call.
    ends = None if seconds is None else seconds + (begun if wanted.timeout is None else asked)
    with place.told(seconds), place.connected(ends) as connection:
        try:
            _send(connection, place, wanted, arguments, described, has_input=has_input)
            facts = _print_answer(connection.answer("POST"), as_json=wanted.as_json)
        except (OSError, http.client.HTTPException, FastRPCError):
            if connection.input_error is not None:
                # Reading standard input failed, which also cut off the answer.
                raise connection.input_error from None
            raise
    facts = {"status": "OK", "seconds": time.monotonic() - begun, "endpoint": place.url, **facts}
    _print_facts(facts, as_json=wanted.as_json)


class _Described(NamedTuple):
    """The description of a method, from its server's OpenAPI document or from `--kind`, if either describes it."""

    kind: str
    #: The types of the parameters by name, in order; None: unknown.
    types: dict[str, str] | None
    #: The type of the messages that the method accepts, if known.
    message: str = ""
    #: The methods that the server describes to every caller, if it does not describe this one.
    others: Sequence[str] = ()

    @classmethod
    def of(cls, place: "HttpPlace", wanted: HttpCall) -> "_Described":
        """Ask the server for the types of the arguments, if the call needs them."""
        given = wanted.kind or "unary"
        is_asked = needs_method(wanted.texts, None) or any("=" not in text for text in wanted.texts)
        document = place.document(wanted.timeout) if is_asked else None
        if document is None:
            return cls(given, None)
        service, _, name = wanted.method.rpartition(".")
        operation = _at(document, "paths", f"/{service}/{name}", "post")
        if not operation:
            # The method may exist although the document omits it: a server with credentials may show it only to other
            # callers.
            is_for_all = not _at(document, "components", "securitySchemes")
            return cls(given, None, others=_methods_in(document) if is_for_all else ())
        content = _at(operation, "requestBody", "content")
        schema = _at(next(iter(content.values()), {}), "schema")
        message = ""
        if _LINES in content:
            forms = schema.get("anyOf")
            lines = [_at(one, "properties") for one in forms] if isinstance(forms, list) else []
            message = _type_of(next((one["value"] for one in lines if "value" in one), {}))
            schema = next((one["arguments"] for one in lines if "arguments" in one), {})
        types = {name: _type_of(one) for name, one in _at({"schema": schema}, "schema", "properties").items()}
        kind = _at(operation, "x-fastrpc").get("kind", given)
        return cls(wanted.kind or str(kind), types, message)


def _methods_in(document: dict[str, Any]) -> list[str]:
    """Return the names of the methods that a document describes."""
    paths = [path[1:].split("/") for path, verbs in _at(document, "paths").items() if _at(verbs, "post")]
    return [".".join(parts) for parts in paths if len(parts) == 2]


def _at(value: Any, *names: str) -> dict[str, Any]:
    """Return the object at a path of names, or an empty one."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _type_of(schema: Any) -> str:
    """Return the name of the type by which the command line parses values."""
    if not isinstance(schema, dict):
        return _OTHER
    if isinstance(schema.get("anyOf"), list):
        return " | ".join(map(_type_of, schema["anyOf"])) or _OTHER
    return _TYPES.get(str(schema.get("type")), _OTHER)


def _named(method: str, texts: Sequence[str], described: _Described) -> dict[str, Any]:
    """Return the arguments by name: calls by HTTP have no positional ones."""
    values, arguments = read_arguments(texts, types=described.types)
    if values and described.others:
        near = nearest_name(method, described.others)
        raise CallError(
            Status.UNIMPLEMENTED,
            f"the server describes no method {method!r}",
            processed="no",
            hint=f"did you mean {near!r}?" if near else f"it describes {_some(described.others)}",
        )
    if values and described.types is None:
        raise ConfigError(
            "the server does not describe the method's parameters",
            hint="by HTTP arguments are given by name: write name=value",
        )
    names = list(described.types or ())
    if len(values) > len(names):
        raise ConfigError(f"{len(values)} arguments are given by position, the method takes {len(names)}")
    for name, value in zip(names, values, strict=False):
        if name in arguments:
            raise ConfigError(f"argument {name!r} is given twice")
        arguments[name] = value
    return arguments


def _some(names: Sequence[str]) -> str:
    """Return the first names, and the number of further ones."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _send(
    connection: PlaceConnection,
    place: HttpPlace,
    wanted: HttpCall,
    arguments: dict[str, Any],
    described: _Described,
    *,
    has_input: bool,
) -> None:
    """Send the request. If messages come from standard input, a thread sends them while answers are read."""
    service, _, name = wanted.method.rpartition(".")
    fields = place.fields() | {"Accept": f"{_LINES}, {_JSON}"}
    for key, value in wanted.metadata.items():
        if key != "authorization":
            fields[f"Meta-{key}"] = _field_value(value)
    left = connection.left()
    if left is not None:
        fields["Timeout-Ms"] = str(max(1, round(left * 1000)))
    target = f"/{quote(service)}/{quote(name)}"
    if not has_input:
        body = msgspec.json.encode(arguments)
        fields |= {"Content-Type": _JSON, "Content-Length": str(len(body))}
        connection.sendall(request_head("POST", target, fields) + body)
        return
    fields |= {"Content-Type": _LINES, "Transfer-Encoding": "chunked"}
    first = _chunk(msgspec.json.encode({"arguments": arguments}) + b"\n") if arguments else b""
    connection.sendall(request_head("POST", target, fields) + first)
    threading.Thread(target=_send_input, args=(connection, described.message), daemon=True).start()


#: Characters that need no escaping in the value of a field.
_VISIBLE = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~ "


def _field_value(text: str) -> str:
    return quote(text, safe=_VISIBLE)


def _send_input(connection: PlaceConnection, kind: str) -> None:
    try:
        for line in read_lines_blocking():
            # An empty line is a message only if messages may be texts.
            if line or kind == "str":
                message = read_message(line, None, kind)
                connection.sendall(_chunk(msgspec.json.encode({"value": message}) + b"\n"))
        connection.sendall(b"0\r\n\r\n")
    except OSError:
        # The thread that reads the answer reports an error of the connection.
        return
    except Exception as error:
        # The request's body cannot be completed, so close the connection: otherwise the server would wait for the rest,
        # and the command for the server.
        connection.give_up(error)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _print_answer(answer: http.client.HTTPResponse, *, as_json: bool) -> dict[str, Any]:
    """Print the content of a response; return the facts to print after it."""
    kind = answer.headers.get_content_type()
    # A handler may set the status, such as 201 or 303. A status without content stands for None.
    has_answered = http.client.OK <= answer.status < http.client.BAD_REQUEST
    is_none = answer.status in (http.client.NO_CONTENT, http.client.RESET_CONTENT)
    if has_answered and kind == _LINES:
        return _print_lines(answer, as_json=as_json)
    content = answer.read(LONGEST_LINE + 1)
    if len(content) > LONGEST_LINE:
        raise CallError(Status.RESOURCE_EXHAUSTED, f"the answer has more than {LONGEST_LINE} bytes")
    if not has_answered or (kind != _JSON and not is_none):
        raise _failure(answer.status, content)
    value = None if is_none else _decoded(content)
    metadata = {
        name[5:].lower(): unquote(text)
        for name, text in answer.headers.items()
        if name.lower().startswith("meta-")
    }
    if not as_json:
        print_value(value)
        return {}
    return {"value": value, "metadata": metadata}


def _print_lines(answer: http.client.HTTPResponse, *, as_json: bool) -> dict[str, Any]:
    count = 0
    while line := answer.readline(LONGEST_LINE):
        envelope = _decoded(line)
        if not isinstance(envelope, dict):
            envelope = {}
        if "error" in envelope:
            raise _failure(answer.status, msgspec.json.encode(envelope["error"]))
        if "end" in envelope:
            return {"messages": count, "metadata": _at(envelope["end"], "metadata")}
        count += 1
        message = envelope.get("value")
        if as_json:
            print_json({"message": message})
        else:
            print(line_of(message), flush=True)  # noqa: T201 (each message as it comes)
    raise ConnectionLostError("the connection ended before the stream did")


def _failure(status: int, content: bytes) -> CallError:
    """Return the error of a problem document."""
    try:
        found = msgspec.json.decode(content, type=_Problem)
        code = Status[found.code]
        processed: Any = found.processed if found.processed in {"yes", "no"} else "unknown"
        return CallError(
            code, found.detail, details=found.details, retry_after=found.retry_after, processed=processed
        )
    except (msgspec.MsgspecError, KeyError, ValueError, TypeError, RecursionError):
        text = f"the server answered {status} {http.client.responses.get(status, '')}".rstrip()
        return CallError(Status.UNKNOWN, text, hint="is it a fastrpc server that serves HTTP?")


class _Problem(msgspec.Struct):
    """An error by HTTP (RFC 9457), as fastrpc servers write it."""

    code: str
    detail: str = ""
    processed: str = "unknown"
    retry_after: float | None = None
    details: Any = None


def _decoded(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        raise CallError(Status.INTERNAL, f"the answer is not JSON: {error}") from None


def _print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    count = f", {counted(facts['messages'], 'message')}" if "messages" in facts else ""
    print_note(f"OK in {facts['seconds'] * 1e3:.2f} ms{count} from {facts['endpoint']}")
