"""Routes of a server's methods: find the route of a path, and the arguments in path, query and body."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from fastrpc._core.calls.call import MethodRoute, RouteTable
from fastrpc.errors import CallError, ConfigError
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.route_types import whole_body_of
from fastrpc.rpc.routes import HttpRoute, together
from fastrpc.server.http.query import QueryArguments
from fastrpc.status import Status

__all__ = ["Routed", "Routes", "check_routes"]

#: The limits of a form without a file, which is parsed as a whole.
_MOST_PAIRS: Final = 100
_MOST_PAIR_BYTES: Final = 64 * 1024

_DOTS: Final = frozenset({b".", b".."})

_check_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
_check_msgpack: Final = msgspec.msgpack.Decoder(msgspec.Raw).decode


class Routed:
    """A request to a route: the arguments of its method.

    Args:
        values: the encoded segments of the path, by parameter name.
    """

    def __init__(self, handled: "_Handled", values: dict[str, bytes]) -> None:
        self._handled = handled
        self._values = values
        self.has_body = handled.route.has_body
        #: True if the body may be a form without a file, whose fields are arguments by name.
        self.takes_pairs = self.has_body and handled.whole is None

    @property
    def body_types(self) -> str:
        """The media types of a body, for an error text."""
        if self.takes_pairs:
            return "application/json, application/msgpack or application/x-www-form-urlencoded"
        return "application/json or application/msgpack"

    def refusal_of_query(self, query: str) -> str | None:
        """Return why the query of a route with a body is refused, or None."""
        names = self._handled.arguments.names(query)
        if not names:
            return None
        whole, method = self._handled.whole, self._handled.method.definition
        if whole is not None:
            how = f"the body is {whole!r} itself"
        elif method.takes_upload:
            how = "its arguments are fields of the form, before the file"
        elif len(method.parameters) > len(self._handled.route.names):
            how = "its arguments are in the body, by name"
        else:
            how = "its arguments are in the path"
        return f"{', '.join(names)}: {self._handled.route} takes no query: {how}"

    def payload_of_pairs(self, body: bytes) -> bytes:
        """Return the arguments in a form that is encoded like a query. Raises the errors of `payload`."""
        if len(body) > _MOST_PAIR_BYTES or body.count(b"&") >= _MOST_PAIRS:
            raise _refusal(f"a form has at most {_MOST_PAIRS} fields and {_MOST_PAIR_BYTES} bytes")
        try:
            return self.payload("", self._handled.arguments(body.decode()), "json")
        except UnicodeDecodeError:
            raise _refusal("the form is not text in UTF-8") from None

    def payload(self, query: str, body: bytes, codec: str) -> bytes:
        """Return the arguments as a map by name.

        Args:
            codec: the codec of the body, "json" or "msgpack".

        Raises:
            CallError: a part of the request is invalid.
        """
        handled = self._handled
        members = {
            name: handled.arguments.value(name, _text(name, sent), codec)
            for name, sent in self._values.items()
        }
        if not self.has_body:
            if body:
                raise _refusal(f"{handled.route} takes no body: its arguments are in the query and the path")
            return _spliced(members, handled.arguments(query), "json")
        if handled.whole is not None and body.strip():
            members[handled.whole] = _checked(body, codec)
            return _spliced(members, b"", codec)
        return _spliced(members, b"" if handled.whole is not None else body, codec)


class _Handled(NamedTuple):
    """A route, its method, the parameter that is the whole body (or None), and the parser of texts."""

    route: HttpRoute
    method: MethodRoute
    whole: str | None
    arguments: QueryArguments


class _Node:
    """Templates with a common prefix: the templates that end here, and the nodes of the next segments.

    A verb has several routes only if all except one belong to removed services.
    """

    def __init__(self) -> None:
        self.here: dict[str, list[_Handled]] = {}
        self.rest: dict[str, list[_Handled]] = {}
        self.fixed: dict[bytes, _Node] = {}
        self.one: _Node | None = None

    def find(self, segments: Sequence[bytes], at: int = 0) -> Iterator[dict[str, list[_Handled]]]:
        """Yield the routes of a path by verb, the most specific templates first."""
        if at == len(segments):
            yield self.here
            return
        following = self.fixed.get(segments[at])
        if following is not None:
            yield from following.find(segments, at + 1)
        if segments[at] and not _is_dots(segments[at]):
            if self.one is not None:
                yield from self.one.find(segments, at + 1)
            if self.rest and all(one and not _is_dots(one) for one in segments[at:]):
                yield self.rest


class Routes:
    """The routes of a server.

    Args:
        table: the methods of the server, which may change. Removed methods keep their routes, but other routes take
            precedence.
    """

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._known = 0
        self._root = _Node()
        self._is_empty = True

    @property
    def is_empty(self) -> bool:
        """True if no method has a route."""
        self._renew()
        return self._is_empty

    def __call__(
        self, verb: str, path: bytes
    ) -> tuple[MethodRoute, Routed | None, tuple[tuple[str, MethodRoute], ...]] | None:
        """Return the method of a path and the request to it, or None if no route matches the path.

        If the path has only routes with other verbs, the request is None, the method is the least restricted one, and
        the third item lists all verbs and their methods.
        """
        if self.is_empty:
            return None
        segments = path[1:].split(b"/")
        found = [routes for routes in self._root.find(segments) if routes]
        if not found:
            return None
        handled = _first(routes[one] for one in _verbs_for(verb) for routes in found if one in routes)
        if handled is not None:
            return handled.method, Routed(handled, _values(handled.route, segments)), ()
        others = [
            (one.route.verb, one.method) for routes in found for fitting in routes.values() for one in fitting
        ]
        served = [other for other in others if not other[1].is_withdrawn] or others
        return min((method for _, method in served), key=_rank), None, tuple(served)

    def _renew(self) -> None:
        if self._known == self._table.changes:
            return
        self._known, self._root = self._table.changes, _Node()
        handled = [_handled(one) for one in self._table if one.definition.options.http is not None]
        for one in handled:
            node = self._root
            for part in one.route.parts:
                if part.takes_rest:
                    break
                if part.is_fixed:
                    node = node.fixed.setdefault(part.text.encode(), _Node())
                else:
                    node.one = node.one or _Node()
                    node = node.one
            ends = node.rest if one.route.parts[-1].takes_rest else node.here
            ends.setdefault(one.route.verb, []).append(one)
        self._is_empty = not handled


def check_routes(services: Sequence[ServiceDefinition], reserved: frozenset[str]) -> None:
    """Refuse routes that match the same paths.

    Args:
        reserved: the first segments of fixed paths.

    Raises:
        ConfigError: two routes match the same path, or a route matches a fixed path or the path of a method.
    """
    named: list[tuple[MethodDefinition, HttpRoute]] = []
    paths = {
        f"/{owner}/{name}": method
        for service in services
        for owner in service.names.of_service()
        for method in service.methods.values()
        for name in method.names
    }
    for method, route in _routes_of(method for service in services for method in service.methods.values()):
        if route.parts[0].is_fixed and route.parts[0].text in reserved:
            raise ConfigError(f'{method.label}: http="{route}" is at the fixed path /{route.parts[0].text}')
        if route.path in paths:
            raise ConfigError(f'{method.label}: http="{route}" is the path of {paths[route.path].label}')
        for other, known in named:
            if together(route, known):
                raise ConfigError(
                    f'{other.label} has http="{known}" and {method.label} http="{route}", which fit the same paths',
                    hint="give one of them another fixed segment",
                )
        named.append((method, route))


def _routes_of(methods: Iterable[MethodDefinition]) -> list[tuple[MethodDefinition, HttpRoute]]:
    return [(method, method.options.http) for method in methods if method.options.http is not None]


def _handled(method: MethodRoute) -> _Handled:
    definition: MethodDefinition = method.definition
    route = definition.options.http
    assert route is not None
    return _Handled(route, method, whole_body_of(definition, route), QueryArguments(definition))


def _verbs_for(verb: str) -> tuple[str, ...]:
    return ("HEAD", "GET") if verb == "HEAD" else (verb,)


def _first(fitting: Iterable[Sequence[_Handled]]) -> _Handled | None:
    """Return the first route whose method is still served, else the first route, whose calls are refused."""
    handled = [one for routes in fitting for one in routes]
    return next((one for one in handled if not one.method.is_withdrawn), handled[0] if handled else None)


def _rank(method: MethodRoute) -> tuple[bool, bool]:
    """Return a sort key that puts the least restricted methods first."""
    return not method.definition.public, bool(method.definition.roles)


def _is_dots(segment: bytes) -> bool:
    """Return whether a segment decodes to `.`, `..` or a path with them, which programs resolve to another path."""
    decoded = unquote_to_bytes(segment)
    return decoded.startswith(b"/") or not _DOTS.isdisjoint(decoded.split(b"/"))


def _values(route: HttpRoute, segments: Sequence[bytes]) -> dict[str, bytes]:
    return {
        part.text: b"/".join(segments[at:]) if part.takes_rest else segments[at]
        for at, part in enumerate(route.parts)
        if not part.is_fixed
    }


def _text(name: str, sent: bytes) -> str:
    try:
        return unquote_to_bytes(sent).decode()
    except UnicodeDecodeError:
        raise _refusal(f"{name}: the segment of the path is not text in UTF-8") from None


def _refusal(message: str) -> CallError:
    return CallError(Status.INVALID_ARGUMENT, message, processed="no")


def _checked(body: bytes, codec: str) -> bytes:
    """Return a body after checking that it is a single value. Further values would become arguments."""
    try:
        return bytes((_check_json if codec == "json" else _check_msgpack)(body))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _refusal(f"the body is not {codec}") from None


def _spliced(members: dict[str, bytes], body: bytes, codec: str) -> bytes:
    """Return a map of the given members, which are encoded in `codec`, and the members of the body."""
    if codec == "json":
        own = b",".join(msgspec.json.encode(name) + b":" + value for name, value in members.items())
        if not body.strip():
            return b"{" + own + b"}"
        inner = _checked(body, codec).strip()
        if not inner.startswith(b"{"):
            raise _refusal("the arguments are not a map by the names of the parameters")
        rest = inner[1:].lstrip()
        return b"{" + own + (b"," if own and rest != b"}" else b"") + rest
    parts = [msgspec.msgpack.encode(name) + value for name, value in members.items()]
    count, rest = _map_of(_checked(body, codec)) if body else (0, b"")
    return b"\xdf" + (count + len(parts)).to_bytes(4, "big") + b"".join(parts) + rest


def _map_of(body: bytes) -> tuple[int, bytes]:
    """Return the number of members of a msgpack map, and the bytes of the members."""
    if 0x80 <= body[0] <= 0x8F:
        return body[0] - 0x80, body[1:]
    size = {0xDE: 2, 0xDF: 4}.get(body[0])
    if size is None:
        raise _refusal("the arguments are not a map by the names of the parameters")
    return int.from_bytes(body[1 : 1 + size], "big"), body[1 + size :]
