"""Methods that take over routes of mounted applications which answer pages of other origins (CORS).

The middleware of an application does not see the requests that our methods answer. A page whose origin it allows gets
403 there, until `HTTP.cors_origins` has that origin.

Starlette, FastAPI and frameworks with the same attributes expose their routes; others do not.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from fastrpc._core.calls.call import MethodRoute
from fastrpc.rpc.routes import HttpRoute, RoutePart

__all__ = ["taken_over"]

#: Applications inside applications that are looked at.
_DEEPEST: Final = 16

#: A parameter in the path of a route: its name, and its kind unless that is a text.
_PARAMETER: Final = re.compile(r"\{[^{}:]*(?::(?P<kind>[a-z]+))?\}")
_KINDS: Final = {"int": "[0-9]+", "float": r"[0-9]+(\.[0-9]+)?", "uuid": "[0-9a-fA-F-]+"}


class _Route(NamedTuple):
    """A route of an application; None as its verbs are all."""

    verbs: frozenset[str] | None
    path: str


def taken_over(application: Any, prefix: str, methods: Iterable[MethodRoute]) -> list[tuple[str, str]]:
    """Return the methods that take over routes of an application with CORS middleware, each with the route.

    Args:
        prefix: the path at which the application is mounted, "" for "/".
    """
    routes = list(_routes(application, prefix, False, 0))
    found = []
    for method in methods if routes else ():
        for verb, parts in _paths_of(method):
            taken = [route for route in routes if _is_taken(route, verb, parts)]
            if taken:
                found.append((method.method, max(taken, key=lambda route: _likeness(route, parts)).path))
                break
    return found


def _paths_of(method: MethodRoute) -> Iterator[tuple[str | None, Sequence[RoutePart]]]:
    """Yield the paths of a method with their verbs; None is all verbs."""
    definition = method.definition
    route: HttpRoute | None = definition.options.http
    if route is not None:
        yield route.verb, route.parts
    for name in (definition.full_name, *definition.aliases):
        service, _, called = name.rpartition(".")
        yield None, (RoutePart(service, is_fixed=True), RoutePart(called, is_fixed=True))


def _routes(application: Any, prefix: str, has_cors: bool, depth: int) -> Iterator[_Route]:
    """Yield the routes below middleware for CORS."""
    while depth < _DEEPEST:
        has_cors = has_cors or _has_cors(application)
        routes = getattr(application, "routes", None)
        if isinstance(routes, Iterable):
            break
        # A middleware, with its inner application.
        application, depth = getattr(application, "app", None), depth + 1
    else:
        return
    for route in _flat(routes):
        path, inner = getattr(route, "path", None), getattr(route, "original_route", route)
        verbs = getattr(route, "methods", None)
        if hasattr(inner, "routes"):
            yield from _routes(getattr(inner, "app", None), prefix + (path or ""), has_cors, depth + 1)
        elif has_cors and isinstance(path, str) and hasattr(inner, "methods"):
            yield _Route(None if verbs is None else frozenset(verbs), prefix + path)


def _flat(routes: Iterable[Any]) -> Iterable[Any]:
    """Return routes, and the routes of included routers, which FastAPI keeps separately."""
    flatten = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    return list(routes) if flatten is None else list(flatten(list(routes)))


def _has_cors(application: Any) -> bool:
    """Return whether this is middleware for CORS, or an application that has it."""
    around = getattr(application, "user_middleware", None) or ()
    classes = [type(application), *(getattr(one, "cls", None) for one in around)]
    return getattr(application, "cors_config", None) is not None or any(
        "cors" in getattr(one, "__name__", "").lower() for one in classes
    )


def _is_taken(route: _Route, verb: str | None, parts: Sequence[RoutePart]) -> bool:
    if verb is not None and route.verbs is not None and verb not in route.verbs:
        return False
    return _overlap(parts, route.path[1:].split("/"))


def _likeness(route: _Route, parts: Sequence[RoutePart]) -> int:
    """Return in how many segments both have a parameter, or both a text."""
    pairs = zip(parts, route.path[1:].split("/"), strict=False)
    return sum(part.is_fixed == (_PARAMETER.search(segment) is None) for part, segment in pairs)


def _overlap(parts: Sequence[RoutePart], segments: Sequence[str]) -> bool:
    """Return whether a path may fit both the parts of our template and the segments of a route."""
    for at, segment in enumerate(segments):
        if at == len(parts):
            return False
        parameter = _PARAMETER.search(segment)
        if parts[at].takes_rest or (parameter is not None and parameter["kind"] == "path"):
            # Several segments of either are compared no further.
            return True
        if not _fits(parts[at], segment):
            return False
    return len(parts) == len(segments)


def _fits(part: RoutePart, segment: str) -> bool:
    """Return whether a segment of a path may fit a part of our template and a segment of a route."""
    if not part.is_fixed:
        return segment != ""
    texts = _PARAMETER.split(segment)
    # The kinds come between the texts.
    pattern = re.escape(texts[0])
    for kind, text in zip(texts[1::2], texts[2::2], strict=True):
        pattern += _KINDS.get(kind or "", ".+") + re.escape(text)
    return re.fullmatch(pattern, part.text) is not None
