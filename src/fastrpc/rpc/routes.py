"""HTTP routes: `@method(http="GET /orders/{id}")`, in addition to `POST /service/method`.

A template has fixed segments, which are compared without percent-decoding, and parameters of the method: `{id}` matches
one segment, a last `{path:path}` matches all further segments. If several templates match a path, the most specific is
used: at the first difference a fixed segment precedes a parameter, and `{id}` precedes `{path:path}`.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from fastrpc.errors import ConfigError
from fastrpc.rpc.signature import HandlerSignature

__all__ = [
    "HttpRoute",
    "RoutePart",
    "check_route",
    "parsed_route",
    "together",
]

#: HTTP methods. True if arguments outside the path are in the body, False if they are in the query.
VERBS: Final = {"GET": False, "POST": True, "PUT": True, "PATCH": True, "DELETE": False}

_HOW: Final = 'write a method of HTTP and a path: http="GET /orders/{id}"'

#: Characters of a segment that need no percent-encoding (RFC 3986, section 3.3).
_FIXED: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_NAMED: Final = re.compile(r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>:path)?\}")


class RoutePart(NamedTuple):
    """One segment of a template, or a last parameter that matches several segments."""

    #: The text of a fixed segment, or the name of a parameter.
    text: str
    is_fixed: bool = False
    takes_rest: bool = False

    @property
    def rank(self) -> int:
        """How general the segment is: 0 for a fixed text, 1 for a parameter, 2 for `{name:path}`."""
        return 0 if self.is_fixed else 1 + self.takes_rest

    @property
    def segment(self) -> str:
        """The segment in OpenAPI, where `{name:path}` is `{name}`."""
        return self.text if self.is_fixed else f"{{{self.text}}}"

    def __str__(self) -> str:
        return f"{{{self.text}:path}}" if self.takes_rest else self.segment


class HttpRoute(NamedTuple):
    """An HTTP method and a template."""

    verb: str
    parts: tuple[RoutePart, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters in the path."""
        return tuple(part.text for part in self.parts if not part.is_fixed)

    @property
    def path(self) -> str:
        return "".join(f"/{part}" for part in self.parts)

    @property
    def has_body(self) -> bool:
        """True if the other arguments are in the body, False if they are in the query."""
        return VERBS[self.verb]

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"


def parsed_route(text: str) -> HttpRoute:
    """Parse a route.

    Raises:
        TypeError: the route is not text.
        ConfigError: the route is malformed.
    """
    if not isinstance(text, str):
        raise TypeError(f"http is {text!r}, it must be a text: {_HOW}")
    verb, _, path = text.partition(" ")
    if verb not in VERBS or not path.startswith("/"):
        raise ConfigError(f"http is {text!r}, it must begin with {', '.join(VERBS)} and a path", hint=_HOW)
    parts = tuple(_parts(text, path))
    names = [part.text for part in parts if not part.is_fixed]
    if len(set(names)) < len(names):
        raise ConfigError(f"http is {text!r}, which has a parameter twice")
    if any(part.takes_rest for part in parts[:-1]):
        raise ConfigError(f"http is {text!r}: a parameter with `:path` is the last one")
    return HttpRoute(verb, parts)


def _parts(text: str, path: str) -> Iterator[RoutePart]:
    for segment in path[1:].split("/"):
        named = _NAMED.fullmatch(segment)
        if named is not None:
            yield RoutePart(named["name"], takes_rest=named["rest"] is not None)
        elif _FIXED.fullmatch(segment) and segment not in {".", ".."}:
            yield RoutePart(segment, is_fixed=True)
        elif not segment:
            raise ConfigError(
                f"http is {text!r}, which has an empty segment or a slash at its end", hint=_HOW
            )
        else:
            raise ConfigError(
                f"http is {text!r}: {segment!r} is neither a valid segment nor a parameter",
                hint="a parameter is a whole segment, {name}, or {name:path} at the end",
            )


def check_route(label: str, route: HttpRoute, signature: HandlerSignature, *, is_safe: bool) -> None:
    """Refuse a route that its method cannot have.

    Raises:
        TypeError: the route is a GET of a method that is not safe, has parameters that the method lacks, or the method
            has a stream other than an `Upload`.
    """
    if route.verb == "GET" and not is_safe:
        raise TypeError(f'{label}: http="{route}" needs a method that changes nothing: add safe=True')
    if signature.stream is not None and not (signature.takes_upload and route.has_body):
        raise TypeError(
            f"{label} takes the stream {signature.stream.name!r}, which has no route: leave http= out, or make it an "
            "`Upload` at a POST, PUT or PATCH"
        )
    known = {parameter.name: parameter for parameter in signature.parameters}
    for name in route.names:
        if name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise TypeError(f'{label}: http="{route}": {name!r} is not a parameter: {there}')
        if not known[name].by_name:
            raise TypeError(f'{label}: http="{route}": {name!r} is given only by position')


def together(one: HttpRoute, other: HttpRoute) -> bool:
    """Return whether a path could match both routes and neither route is more specific."""
    size = max(len(one.parts), len(other.parts))
    left, right = _extended(one.parts, size), _extended(other.parts, size)
    if one.verb != other.verb or len(left) != len(right):
        return False
    pairs = list(zip(left, right, strict=True))
    if any(a.is_fixed and b.is_fixed and a.text != b.text for a, b in pairs):
        return False
    sides = {a.rank > b.rank for a, b in pairs if a.rank != b.rank}
    return len(sides) != 1


def _extended(parts: tuple[RoutePart, ...], size: int) -> tuple[RoutePart, ...]:
    """Return a template with one part for each of `size` segments, if it can match that many."""
    return parts + parts[-1:] * (size - len(parts)) if parts[-1].takes_rest else parts
