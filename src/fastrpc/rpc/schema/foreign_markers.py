"""Find the markers of FastAPI and pydantic at a parameter, such as `Query(…)`: they have no effect here.

Without a word, a limit would be gone and a dependency would be an argument that callers choose.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, Final, get_args, get_origin

from fastrpc.rpc.schema.annotation import Scope, evaluate

__all__ = ["constraint_of", "default_refusal", "dependency_refusal"]

#: Packages whose objects in `Annotated` check values elsewhere.
_PACKAGES: Final = frozenset({"annotated_types", "fastapi", "pydantic"})

#: The bases of their markers: of `Query`, `Path`, `Form` and `Field`, and of `Depends` and `Security`.
_FIELDS: Final = "FieldInfo"
_DEPENDENCIES: Final = "Depends"


def default_refusal(name: str, default: Any) -> str | None:
    """Return the reason why the default of a parameter is refused, or None."""
    if _is_a(default, _DEPENDENCIES):
        return _dependency(name, default)
    if not _is_a(default, _FIELDS):
        return None
    return (
        f"the default of {name!r} is {_written(default)}, which has no effect here: write the value itself as the "
        "default, and limits as Annotated[int, msgspec.Meta(ge=1)]"
    )


def dependency_refusal(name: str, annotation: Any, scope: Scope) -> str | None:
    """Return the reason why an annotation with a dependency is refused, or None."""
    found = (each for each in _metadata(annotation, scope) if _is_a(each, _DEPENDENCIES))
    return next((_dependency(name, each) for each in found), None)


def constraint_of(annotation: Any, scope: Scope) -> str | None:
    """Return the name of the first object in `Annotated` that checks values elsewhere, or None."""
    found = (each for each in _metadata(annotation, scope) if _package(each) in _PACKAGES)
    return next(map(_written, found), None)


def _dependency(name: str, marker: Any) -> str:
    return (
        f"{name!r} is {_written(marker)}, which does not run here: callers could send the value. Leave the parameter "
        "out: the identity is current_call().identity, other objects are attributes of the service"
    )


def _metadata(annotation: Any, scope: Scope) -> Iterator[Any]:
    """Yield the metadata of each `Annotated` in an annotation, at any depth."""
    # A forward reference, or not a type: looked at again when the types are resolved.
    with suppress(Exception):
        annotation = evaluate(annotation, scope)
    waiting, aliases = [annotation], set()
    while waiting:
        kind = waiting.pop(0)
        inner = get_args(kind)
        if get_origin(kind) is Annotated:
            yield from inner[1:]
            inner = inner[:1]
        elif id(kind) not in aliases:  # type X = …, which may name itself
            with suppress(Exception):
                inner = (*inner, kind.__value__)
                aliases.add(id(kind))
        waiting += inner


def _is_a(value: Any, base: str) -> bool:
    return any(
        cls.__name__ == base and cls.__module__.partition(".")[0] in _PACKAGES for cls in type(value).__mro__
    )


def _written(marker: Any) -> str:
    return f"{type(marker).__name__.removesuffix('Info')}(…) of {_package(marker)}"


def _package(value: Any) -> str:
    return type(value).__module__.partition(".")[0]
