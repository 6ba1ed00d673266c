"""Refuse markers of FastAPI, Starlette and pydantic at parameters, such as `Query(…)`, which have no effect in methods.

Without an error, a limit would be ignored, and a dependency would become an argument that callers choose.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, Final, get_args, get_origin
from weakref import WeakSet

from fastrpc.rpc.schema.annotation import Scope, evaluate
from fastrpc.rpc.schema.payload_classes import PayloadField, payload_class
from fastrpc.rpc.schema.type_graph import all_annotations
from fastrpc.rpc.upload import Upload
from fastrpc.types.base import find

__all__ = ["annotation_refusal", "constraint_of", "default_refusal", "field_constraints", "field_refusal"]

#: Packages whose objects in `Annotated` check values in other frameworks.
_PACKAGES: Final = frozenset({"annotated_types", "fastapi", "pydantic"})

_ANSWER: Final = "current_call().http(…) sets status and headers of the answer"
#: Starlette's request objects, each with its replacement in a method.
_REQUESTS: Final = {
    "UploadFile": "write `{name}: fastrpc.Upload`, which has the file of a form, its filename and its content_type",
    "WebSocket": "write `{name}: AsyncIterator[T]` for the messages of the caller, and yield the answers",
    "HTTPConnection": f"leave it out: current_call() has peer, identity and metadata, and {_ANSWER}",
    "BackgroundTasks": "leave it out: begin tasks that outlive the call under `with fastrpc.detached():`",
    "Response": f"leave it out: {_ANSWER}",
}

#: The base class of the markers `Query`, `Path`, `Form` and `Field`, and the base class of `Depends` and `Security`.
_FIELDS: Final = "FieldInfo"
_DEPENDENCIES: Final = "Depends"

#: Markers for a value in another place of a request, each with its replacement.
_PLACES: Final = {
    "Header": (
        "callers could send the value as an argument. Leave the parameter out: Authorization goes to authenticate=, "
        "fields named Meta-… are current_call().metadata"
    ),
    "Cookie": "callers could send the value as an argument. Leave the parameter out: methods have no cookies",
    "File": "write `{name}: fastrpc.Upload`, which is the file of a form",
}

#: Classes whose limits were already reported in a warning.
_told: Final[WeakSet[type[Any]]] = WeakSet()


def default_refusal(name: str, default: Any) -> str | None:
    """Return the reason why the default of a parameter is refused, or None."""
    refusal = _marker_refusal(name, default)
    if refusal is not None or not _is_a(default, _FIELDS):
        return refusal
    return (
        f"the default of {name!r} is {_written(default)}, which has no effect here: write the value itself as the "
        "default, and limits as Annotated[int, msgspec.Meta(ge=1)]"
    )


def annotation_refusal(name: str, annotation: Any, scope: Scope) -> str | None:
    """Return the reason why an annotation is refused, or None.

    An annotation is refused if it has a dependency, a request object, or a marker for another place or name of the
    value.
    """
    for kind, metadata in _parts(annotation, scope):
        found = (
            *(_marker_refusal(name, each, _bare(kind)) for each in metadata),
            _request(name, get_origin(kind) or kind),
        )
        refusal = next((each for each in found if each is not None), None)
        if refusal is not None:
            return refusal
    return None


def constraint_of(annotation: Any, scope: Scope) -> str | None:
    """Return the name of the first object in `Annotated` that checks values only in other frameworks, or None."""
    found = (each for _, all_of in _parts(annotation, scope) for each in all_of if _checks(each))
    return next(map(_written, found), None)


def field_refusal(name: str, known: Any) -> str | None:
    """Return the reason why a class in the type of a parameter is refused, or None.

    A class is refused if the default of a field is a marker: a call without the field would get the marker as its
    value.
    """
    for owner, field in _fields_within(known):
        if _is_a(field.default, _FIELDS):
            return (
                f"the default of {field.name!r} in {owner.__name__}, of {name!r}, is {_written(field.default)}, which "
                "has no effect here: make the class a pydantic.BaseModel, or write the value itself as the default, "
                "and limits as Annotated[int, msgspec.Meta(ge=1)]"
            )
    return None


def field_constraints(known: Any, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield each field in a type with an object that checks values only in other frameworks, and the object's name.

    Each class is reported only once.
    """
    classes: set[type[Any]] = set()
    for owner, field in _fields_within(known):
        constraint = None if owner in _told else constraint_of(field.annotation, scope)
        if constraint is not None:
            yield f"{field.name!r} in {owner.__name__}", constraint
            classes.add(owner)
    _told.update(classes)


def _fields_within(known: Any) -> Iterator[tuple[type[Any], PayloadField]]:
    """Yield the fields of the classes in a type.

    Models are left out: a model decodes its fields and obeys their markers itself.
    """
    if _PACKAGES.isdisjoint(sys.modules):
        return
    seen: set[type[Any]] = set()
    # An alias that refers to itself is refused when its decoder is created.
    with suppress(TypeError):
        for kind in all_annotations([known]):
            owner = get_origin(kind) or kind
            if isinstance(owner, type) and owner not in seen and find(owner) is None:
                seen.add(owner)
                yield from ((owner, field) for field in payload_class(owner).fields)


def _checks(marker: Any) -> bool:
    """Return whether an object checks values in another framework: `Query(ge=1)` does, `Query()` does not."""
    if _package(marker) not in _PACKAGES:
        return False
    has_limits = getattr(marker, "metadata", True) or getattr(marker, "discriminator", None)
    return bool(has_limits) or not _is_a(marker, _FIELDS)


def _marker_refusal(name: str, marker: Any, kind: Any = None) -> str | None:
    """Return the reason to refuse a marker that states the place or name of a value, or None.

    Args:
        kind: the annotated type with the marker; None if the marker is a default.
    """
    if _is_a(marker, _DEPENDENCIES):
        return _dependency(name, marker)
    if not _is_a(marker, _FIELDS) or kind is Upload:
        return None
    reason = next((text for base, text in _PLACES.items() if _is_a(marker, base)), None)
    if reason is None and _is_a(marker, "Form") and isinstance(kind, type) and payload_class(kind).fields:
        reason = "write its fields as parameters: fields of a form are arguments by name"
    if reason is not None:
        return f"{name!r} is {_written(marker)}, which is not read here: {reason.format(name=name)}"
    alias = getattr(marker, "validation_alias", None) or getattr(marker, "alias", None)
    if alias is not None and alias != name:
        return _alias(name, marker, alias)
    if getattr(marker, "embed", None):
        return (
            f"{name!r} is {_written(marker)} with embed, which has no effect here: write only the type. A body is "
            "its only argument if that has fields, else an object with the arguments by name"
        )
    if kind is not None and _has_default(marker):
        return (
            f"{name!r} has a default in {_written(marker)}, which has no effect here: write it as the default of the "
            "parameter"
        )
    return None


def _has_default(marker: Any) -> bool:
    """Return whether a marker has a default or a default factory."""
    default = getattr(marker, "default", ...)
    # The class of "undefined" in pydantic 2, and in pydantic 1.
    is_unset = default is ... or type(default).__name__ in {"PydanticUndefinedType", "UndefinedType"}
    return not is_unset or getattr(marker, "default_factory", None) is not None


def _alias(name: str, marker: Any, alias: Any) -> str:
    text = f"{name!r} has an alias in {_written(marker)}, which has no effect here: write the type without it"
    if isinstance(alias, str) and alias.isidentifier():
        return f"{text}, and keep the name of requests by @fastrpc.method(renamed={{{alias!r}: {name!r}}})"
    return f"{text}; a name that Python cannot write stays a route of the mounted application"


def _dependency(name: str, marker: Any) -> str:
    return (
        f"{name!r} is {_written(marker)}, which does not run here: callers could send the value. Leave the parameter "
        "out: the identity is current_call().identity, other objects are attributes of the service"
    )


def _request(name: str, kind: Any) -> str | None:
    """Return the reason why a request object is refused; None for other types."""
    for cls in kind.__mro__ if isinstance(kind, type) else ():
        if cls.__name__ in _REQUESTS and cls.__module__.partition(".")[0] == "starlette":
            written = f"{kind.__name__} of {kind.__module__.partition('.')[0]}"
            return f"{name!r} is {written}, which methods do not get: {_REQUESTS[cls.__name__].format(name=name)}"
    return None


def _parts(annotation: Any, scope: Scope) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield each type in an annotation, at any depth, with its metadata."""
    # A forward reference, or an invalid annotation, is checked again when the types are resolved.
    with suppress(Exception):
        annotation = evaluate(annotation, scope)
    waiting, aliases = [annotation], set()
    while waiting:
        kind = waiting.pop(0)
        inner, metadata = get_args(kind), ()
        if get_origin(kind) is Annotated:
            inner, metadata = inner[:1], inner[1:]
        elif id(kind) not in aliases:  # type X = …, which may name itself
            with suppress(Exception):
                inner = (*inner, kind.__value__)
                aliases.add(id(kind))
        yield kind, metadata
        waiting += inner


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _is_a(value: Any, base: str) -> bool:
    return any(
        cls.__name__ == base and cls.__module__.partition(".")[0] in _PACKAGES for cls in type(value).__mro__
    )


def _written(marker: Any) -> str:
    return f"{type(marker).__name__.removesuffix('Info')}(…) of {_package(marker)}"


def _package(value: Any) -> str:
    return type(value).__module__.partition(".")[0]
