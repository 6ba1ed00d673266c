"""The OpenAPI document of services, as the HTTP gateway serves them: version 3.1, or 3.2 with the items of streams."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, get_args, get_origin

from fastrpc._version import __version__
from fastrpc.config import OpenAPI
from fastrpc.errors import ConfigError
from fastrpc.openapi.problems import HTTP_STATUS, PROBLEM
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.marshals import codec_for
from fastrpc.rpc.route_types import whole_body_of
from fastrpc.rpc.routes import HttpRoute, RoutePart
from fastrpc.rpc.schema.conversion import holds_arrays
from fastrpc.rpc.schema.json_schema import JsonSchema, SchemaSet, arguments_schema, object_schema
from fastrpc.rpc.schema.text_values import has_plain_texts, without_none
from fastrpc.rpc.service import BUILTIN_PREFIX, CONSOLE_PREFIX

__all__ = ["openapi_document"]

_JSON: Final = "application/json"
_MSGPACK: Final = "application/msgpack"
_LINES: Final = "application/x-ndjson"
_EVENTS: Final = "text/event-stream"
_PROBLEM: Final = "application/problem+json"
_FORM: Final = "multipart/form-data"

_LISTS: Final = (list, tuple, set, frozenset)

_ABOUT: Final = (
    "The body of a call is an object of arguments by parameter name, and the answer is the value itself. Errors are"
    " problems (RFC 9457), with the status of the call in `code`. The header `Timeout-Ms` limits a call, `Meta-<key>`"
    " gives it metadata. A call with `Accept: application/x-ndjson` or `text/event-stream` streams its answers: without"
    " a last `end` or `error` the stream was cut off. Where JSON is taken, msgpack (`application/msgpack`) is, too."
    " A route whose body has its arguments by name takes them as a form (`application/x-www-form-urlencoded`), too."
    " An integer beyond 2⁵³, which JavaScript's numbers do not hold, may be sent as a text of its digits; answers have"
    " the number."
)

#: `_END` is the schema of the line that marks the end of a stream; no message has the form of this line. `_ENDED` is
#: the schema of the value in the line.
_ENDED: Final[JsonSchema] = object_schema(
    [("metadata", {"type": "object", "additionalProperties": {"type": "string"}}, False)], is_closed=False
)
_END: Final[JsonSchema] = object_schema([("end", _ENDED, True)], is_closed=False)
_PROBLEM_SCHEMA: Final[JsonSchema] = {"$ref": "#/components/schemas/Problem"}


def openapi_document(
    services: Iterable[ServiceDefinition],
    *,
    about: OpenAPI | None = None,
    schemes: Sequence[str] = (),
    may_call: Callable[[MethodDefinition], bool] | None = None,
) -> dict[str, Any]:
    """Return the document of these services, in plain values.

    Methods with protobuf messages as payload are left out, because JSON cannot represent these. The document's
    description names the methods.

    Args:
        about: title, version, description and servers; None: the defaults.
        schemes: the credential schemes that the server accepts. If there is a scheme, every method that is not public
            requires credentials.
        may_call: returns whether to list a method. Services without listed methods are left out. None lists all.
    """
    listed = [
        (one, [method for method in one.methods.values() if may_call is None or may_call(method)])
        for one in services
        # Bare functions have no path.
        if one.name and not _is_built_in(one.name)
    ]
    shown = [one for one, methods in listed if methods or may_call is None]
    schemas = SchemaSet()
    schemas.add("Problem", PROBLEM)
    about = about or OpenAPI()
    writer = _Writer(schemas, schemes, has_items=about.specification == "3.2")
    paths = schemas.settle(_paths(writer, [method for _, methods in listed for method in methods]))
    components: dict[str, Any] = {"schemas": schemas.components, "responses": writer.responses}
    if schemes:
        components["securitySchemes"] = {name: {"type": "http", "scheme": name} for name in schemes}
    return {
        "openapi": f"{about.specification}.0",
        "info": {
            "title": about.title or ", ".join(one.name for one in shown) or "fastrpc",
            "version": about.version or _version(shown),
            "description": "\n\n".join(filter(None, [about.description, _about(writer.left_out)])),
            "x-fastrpc": __version__,
        },
        "servers": [{"url": url} for url in about.servers or ("/",)],
        "tags": [_tag(one) for one in shown],
        "paths": paths,
        "components": components,
    }


def _is_built_in(name: str) -> bool:
    """Return whether this service is built into every server. A console's services do not count as such."""
    return name.startswith(BUILTIN_PREFIX) and not f"{name}.".startswith(CONSOLE_PREFIX)


def _paths(writer: "_Writer", methods: Sequence[MethodDefinition]) -> dict[str, Any]:
    """Return the operations of methods and of their routes, by path."""
    routes = [method.options.http for method in methods if method.options.http is not None]
    narrow = {(route.verb, _template(route.parts)) for route in routes if not route.parts[-1].takes_rest}
    paths: dict[str, Any] = {}
    for method in methods:
        found = writer.operations(method)
        if not found:
            continue
        paths[f"/{method.service}/{method.name}"] = found
        route = method.options.http
        if route is not None:
            template, operation = _template(route.parts), writer.route(method, route)
            if route.parts[-1].takes_rest and (route.verb, template) in narrow:
                template = _renamed(route, operation)
            paths.setdefault(template, {})[route.verb.lower()] = operation
    return paths


def _template(parts: Sequence[RoutePart]) -> str:
    """Return a route as an OpenAPI path template."""
    return "".join(f"/{part.segment}" for part in parts)


def _renamed(route: HttpRoute, operation: dict[str, Any]) -> str:
    """Give the parameter of `{name:path}` another name, and return the path with it.

    This makes the path different from a route with `{name}`. In OpenAPI, paths that differ only in a parameter's name
    are identical, like routes in fastrpc; but tools accept them as two paths.
    """
    last = len(route.names) - 1
    name = f"{route.names[last]}_path"
    while name in route.names:
        name += "_"
    operation["parameters"][last]["name"] = name
    return _template((*route.parts[:-1], RoutePart(name)))


def _about(left_out: Sequence[str]) -> str:
    return f"{_ABOUT} Left out: {', '.join(left_out)}." if left_out else _ABOUT


class _Writer:
    """Writes the operations of methods.

    Args:
        has_items: whether a stream is described by the schema of its items, as since OpenAPI 3.2.
    """

    def __init__(self, schemas: SchemaSet, schemes: Sequence[str], *, has_items: bool) -> None:
        self._schemas = schemas
        self._schemes = schemes
        self._has_items = has_items
        #: The methods that have no operation, each with the reason.
        self.left_out: list[str] = []
        problem = {_PROBLEM: {"schema": _PROBLEM_SCHEMA}}
        #: The responses for refused calls, by HTTP status.
        self.responses = {
            f"{phrase.replace(' ', '')}": {"description": phrase, "content": problem}
            for phrase in HTTP_STATUS.values()
        }
        self._refusals = {
            str(status): {"$ref": f"#/components/responses/{phrase.replace(' ', '')}"}
            for status, phrase in HTTP_STATUS.items()
        }

    def operations(self, method: MethodDefinition) -> dict[str, Any]:
        """Return the operations at a method's path; empty if its payload cannot be sent by HTTP."""
        try:
            if codec_for(method, "json") == "protobuf":
                self.left_out.append(f"`{method.full_name}` travels by protobuf alone")
                return {}
            arguments = arguments_schema(method, self._schemas)
        except (ConfigError, TypeError):  # calls by name report the reason
            self.left_out.append(f"`{method.full_name}` has types that do not travel by HTTP")
            return {}
        found = {"post": self._operation(method, "") | self._body(method, arguments)}
        if method.safe:
            found = {
                "get": self._operation(method, "get") | _query(method, arguments, self._schemas),
                **found,
            }
        return found

    def route(self, method: MethodDefinition, route: HttpRoute) -> dict[str, Any]:
        """Return the operation at a method's route, for a method whose payload can be sent by HTTP."""
        arguments = arguments_schema(method, self._schemas)
        found = self._operation(method, "http")
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": arguments["properties"][name]}
            for name in route.names
        ]
        others = [parameter.name for parameter in method.parameters if parameter.name not in route.names]
        if not route.has_body:
            found["parameters"] += [
                one for one in _query(method, arguments, self._schemas)["parameters"] if one["name"] in others
            ]
        elif method.takes_upload:
            found["requestBody"] = {"content": {_FORM: _form(method, arguments, others)}, "required": True}
        elif others:
            whole = whole_body_of(method, route)
            schema = _members(arguments, others)
            needed = schema.get("required", [])
            content = {
                _media(method): {"schema": schema if whole is None else arguments["properties"][whole]}
            }
            found["requestBody"] = {"content": content, "required": bool(needed)}
        return found

    def _operation(self, method: MethodDefinition, verb: str) -> dict[str, Any]:
        summary, _, rest = method.documentation.strip().partition("\n")
        found: dict[str, Any] = {
            "operationId": "_".join(filter(None, (verb, method.service.replace(".", "_"), method.name))),
            "tags": [method.service],
            "responses": {"200": self._answer(method), **self._refusals},
            "x-fastrpc": {"method": method.full_name, "kind": method.kind, "idempotent": method.idempotent},
        }
        if summary:
            found["summary"] = summary
        if rest.strip():
            found["description"] = method.documentation.strip()
        if self._schemes:
            needed: list[dict[str, list[str]]] = [{name: []} for name in self._schemes]
            found["security"] = [{}, *needed] if method.public else needed
        return found

    def _body(self, method: MethodDefinition, arguments: JsonSchema) -> dict[str, Any]:
        if method.signature.stream is None:
            content = {_media(method): {"schema": arguments}}
            # If all parameters of a method have defaults, it can be called with an empty body as well.
            return {"requestBody": {"content": content, "required": bool(arguments.get("required"))}}
        message = object_schema(
            [("value", self._schemas.schema_of(method.types().message), True)], is_closed=True
        )
        first = object_schema([("arguments", arguments, True)], is_closed=True)
        last = object_schema([("end", {"const": True}, True)], is_closed=True)
        lines = {"anyOf": [*([first] if arguments["properties"] else []), message, last]}
        described = "Lines of JSON, each with a message; the first may have the arguments, the last the end."
        content = {_LINES: self._lines(lines)}
        if method.takes_upload:
            content[_FORM] = _form(method, arguments, list(arguments["properties"]))
            described += " Or a form: fields by name, then the file."
        return {"requestBody": {"content": content, "required": True, "description": described}}

    def _answer(self, method: MethodDefinition) -> dict[str, Any]:
        result = self._schemas.result_schema_of(method.types().result)
        if not method.signature.has_stream_result:
            return {"description": "The value.", "content": {_media(method): {"schema": result}}}
        error = object_schema([("error", _PROBLEM_SCHEMA, True)], is_closed=False)
        message = object_schema([("value", result, True)], is_closed=False)
        return {
            "description": "Lines of JSON, each with a value; the last has the end or an error. Or events.",
            "content": {
                _LINES: self._lines({"anyOf": [message, _END, error]}),
                _EVENTS: self._events(result),
            },
        }

    def _lines(self, line: JsonSchema) -> dict[str, JsonSchema]:
        """Return the description of lines of JSON."""
        return {"itemSchema" if self._has_items else "schema": line}

    def _events(self, result: JsonSchema) -> dict[str, JsonSchema]:
        """Return the description of server-sent events; an event without a name is a message."""
        if self._has_items:
            return {
                "itemSchema": {
                    "anyOf": [_event(None, result), _event("end", _ENDED), _event("error", _PROBLEM_SCHEMA)]
                }
            }
        told = "Events `message`, whose data is a value, then `end` or `error`."
        return {"schema": {"type": "string", "description": told}}


def _event(name: str | None, data: JsonSchema) -> JsonSchema:
    """Return the schema of an event as in OpenAPI 3.2: an object with a string for each field of the event."""
    text = {"type": "string", "contentMediaType": _JSON, "contentSchema": data}
    named = [] if name is None else [("event", {"const": name}, True)]
    return object_schema([*named, ("data", text, True)], is_closed=name is None)


def _media(method: MethodDefinition) -> str:
    """Return the media type of a payload. The document's description says that msgpack is accepted, too."""
    known = method.types()
    return _MSGPACK if holds_arrays([*known.parameters, known.result]) else _JSON


def _members(arguments: JsonSchema, names: Sequence[str], *more: tuple[str, JsonSchema, bool]) -> JsonSchema:
    """Return the schema of an object of these arguments, and of further members."""
    required = arguments.get("required", [])
    own = [(name, arguments["properties"][name], name in required) for name in names]
    return object_schema([*own, *more], is_closed=True)


def _form(method: MethodDefinition, arguments: JsonSchema, names: Sequence[str]) -> dict[str, Any]:
    """Return a form with these arguments as fields, followed by a file that is the method's stream."""
    assert method.signature.stream is not None
    file = (method.signature.stream.name, {"type": "string", "format": "binary"}, True)
    return {"schema": _members(arguments, names, file)}


def _query(method: MethodDefinition, arguments: JsonSchema, schemas: SchemaSet) -> dict[str, Any]:
    """Return the query parameters: texts and numbers unchanged, lists as repeated parameters, other values as JSON."""
    required = arguments.get("required", [])
    parameters = []
    for parameter, kind in zip(method.parameters, method.types().parameters, strict=True):
        described = arguments["properties"][parameter.name]
        place: dict[str, Any] = {
            "name": parameter.name,
            "in": "query",
            "required": parameter.name in required,
        }
        if _is_plain(kind, schemas):
            place["schema"] = described
        else:
            place["content"] = {_JSON: {"schema": described}}
        parameters.append(place)
    return {"parameters": parameters}


def _is_plain(kind: Any, schemas: SchemaSet) -> bool:
    """Return whether every value, or every item of a list, is a scalar, which a query has without quotes."""
    listed = without_none(kind)
    if (get_origin(listed) or listed) not in _LISTS:
        return has_plain_texts(schemas.schema_of(kind), schemas)
    items = [one for one in get_args(listed) if one is not Ellipsis]
    return bool(items) and all(has_plain_texts(schemas.schema_of(one), schemas) for one in items)


def _version(services: Sequence[ServiceDefinition]) -> str:
    """Return the version of all services; "0" if they have none in common."""
    versions = {one.version for one in services}
    return (versions.pop() or "0") if len(versions) == 1 else "0"


def _tag(service: ServiceDefinition) -> dict[str, Any]:
    found: dict[str, Any] = {"name": service.name}
    if service.documentation:
        found["description"] = service.documentation
    if service.version is not None:
        found["x-version"] = service.version
    return found
