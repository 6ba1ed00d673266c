"""Find methods that take over routes of mounted applications with CORS middleware.

The middleware of an application does not see requests that our methods answer. So a page of an origin that the
middleware allows gets 403 there, unless `HTTP.cors_origins` has the origin.

The routes of Starlette, FastAPI and frameworks with the same attributes can be read; others cannot.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from fastrpc._core.calls.call import MethodRoute
from fastrpc.rpc.routes import HttpRoute, RoutePart

__all__ = ["taken_over"]

#: Most levels of nested applications that are searched.
_DEEPEST: Final = 16

#: _PARAMETER: a parameter in the path of a route: its name, and its kind if that is not text. _KINDS: the form of the
#: other kinds.
_PARAMETER: Final = re.compile(r"\{[^{}:]*(?::(?P<kind>[a-z]+))?\}")
_KINDS: Final = {"int": "[0-9]+", "float": r"[0-9]+(\.[0-9]+)?", "uuid": "[0-9a-fA-F-]+"}


class _Route(NamedTuple):
    """A route of an application. `verbs` is None if it accepts all verbs."""

    verbs: frozenset[str] | None
    path: str


def taken_over(application: Any, prefix: str, methods: Iterable[MethodRoute]) -> list[tuple[str, str]]:
    """Return the methods that take over routes of an application with CORS middleware, each with its route.

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
    """Yield the verbs and paths of a method; None means all verbs."""
    definition = method.definition
    route: HttpRoute | None = definition.options.http
    if route is not None:
        yield route.verb, route.parts
    for name in (definition.full_name, *definition.aliases):
        service, _, called = name.rpartition(".")
        yield None, (RoutePart(service, is_fixed=True), RoutePart(called, is_fixed=True))


def _routes(application: Any, prefix: str, has_cors: bool, depth: int) -> Iterator[_Route]:
    """Yield the routes in an application to which CORS middleware applies."""
    while depth < _DEEPEST:
        has_cors = has_cors or _has_cors(application)
        routes = getattr(application, "routes", None)
        if isinstance(routes, Iterable):
            break
        # This is a middleware: continue with its inner application.
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
    """Return routes, including the routes of included routers, which FastAPI stores separately."""
    flatten = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    return list(routes) if flatten is None else list(flatten(list(routes)))


def _has_cors(application: Any) -> bool:
    """Return whether an object is CORS middleware, or an application with CORS middleware."""
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
    """Return the number of segments in which our template and a route both have a parameter, or both have text."""
    pairs = zip(parts, route.path[1:].split("/"), strict=False)
    return sum(part.is_fixed == (_PARAMETER.search(segment) is None) for part, segment in pairs)


def _overlap(parts: Sequence[RoutePart], segments: Sequence[str]) -> bool:
    """Return whether some path matches both the parts of our template and the segments of a route."""
    for at, segment in enumerate(segments):
        if at == len(parts):
            return False
        parameter = _PARAMETER.search(segment)
        if parts[at].takes_rest or (parameter is not None and parameter["kind"] == "path"):
            # A part that covers several segments may match anything.
            return True
        if not _fits(parts[at], segment):
            return False
    return len(parts) == len(segments)


def _fits(part: RoutePart, segment: str) -> bool:
    """Return whether some segment of a path matches both a part of our template and a segment of a route."""
    if not part.is_fixed:
        return segment != ""
    texts = _PARAMETER.split(segment)
    # The split yields the fixed texts, and between them the kinds of the parameters.
    pattern = re.escape(texts[0])
    for kind, text in zip(texts[1::2], texts[2::2], strict=True):
        pattern += _KINDS.get(kind or "", ".+") + re.escape(text)
    return re.fullmatch(pattern, part.text) is not None
