"""Resolve annotations to types: strings, forward references, type variables.

Annotations are evaluated late, when a service is added or a method is first called, so that they may name classes that
are defined later. Names are looked up as Python does: in the function around the class, in the handler's module, in the
built-ins; and last in the class itself.
"""

import ast
import builtins
import functools
import operator
import re
import sys
import types
import typing
from collections import ChainMap
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from types import MappingProxyType
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, Protocol, Union, get_args, get_origin

from fastrpc.rpc.upload import Upload

__all__ = [
    "DEEPEST",
    "FIELD_MARKS",
    "UNANNOTATED",
    "Scope",
    "StreamForm",
    "captured_names",
    "evaluate",
    "item_type",
    "stream_form",
    "substitute",
    "type_text",
    "type_variables",
    "unaliased",
    "unwrapped",
]

#: The annotation of a parameter or result that has no annotation.
UNANNOTATED: Final[Any] = types.SimpleNamespace()

#: Type qualifiers of fields, which do not change the values. The last one exists since Python 3.13.
FIELD_MARKS: Final = frozenset(
    {typing.Required, typing.NotRequired, typing.Final, getattr(typing, "ReadOnly", typing.Final)}
)

#: The most nested aliases and type arguments that are followed, because an alias may refer to itself.
DEEPEST: Final = 20

#: The kind of iteration that an annotation of a stream means: `async for`, or `for`. The "maybe" forms mean a stream
#: only as the result of a generator. "upload" is only for parameters.
StreamForm = Literal["async", "sync", "maybe_async", "maybe_sync", "upload"]

_STREAM_FORMS: dict[Any, StreamForm] = {
    AsyncIterator: "async",
    AsyncGenerator: "async",
    Iterator: "sync",
    Generator: "sync",
    AsyncIterable: "maybe_async",
    Iterable: "maybe_sync",
    Upload: "upload",
}
_STREAM_FORMS_BY_NAME: dict[str, StreamForm] = {kind.__name__: form for kind, form in _STREAM_FORMS.items()}

_IDENTIFIER = re.compile(r"[^\W\d]\w*")


class Scope(NamedTuple):
    """The namespaces of a handler's annotations."""

    handler: Callable[..., Any]
    #: The class in whose body the handler is defined; None while the class does not exist yet.
    defined_in: type[Any] | None = None
    #: Local variables of the function around the class that the annotations mention.
    captured: Mapping[str, Any] = MappingProxyType({})

    def names(self) -> ChainMap[str, Any]:
        """Return all names that an annotation may use, nearest scope first."""
        maps: list[Any] = [
            dict(self.captured),
            _type_parameters(self.handler),
            _type_parameters(self.defined_in),
        ]
        # A wrapper has the annotations of the wrapped function, which may belong to another module.
        maps += [getattr(function, "__globals__", {}) for function in reversed(unwrapped(self.handler))]
        if self.defined_in is None:
            return ChainMap(*maps, dict(vars(builtins)))
        if self.defined_in.__module__ in sys.modules:
            maps.append(vars(sys.modules[self.defined_in.__module__]))
        # Look in the class last, because a service may have a method called `list`.
        maps += [vars(builtins), dict(vars(self.defined_in))]
        return ChainMap(*maps)


def unwrapped(handler: Any) -> list[Any]:
    """Return `handler` and the functions that it wraps, outermost first."""
    chain = [handler]
    while hasattr(chain[-1], "__wrapped__") and len(chain) < 100:
        chain.append(chain[-1].__wrapped__)
    return chain


def evaluate(annotation: Any, scope: Scope) -> Any:
    """Return the type of `annotation`; NameError if a name in it is unknown."""
    if annotation is UNANNOTATED:
        return Any

    def holder() -> None: ...

    holder.__annotations__ = {"value": annotation}
    names = scope.names()
    if sys.version_info >= (3, 14):
        # Deferred evaluation needs a dict.
        return typing.get_type_hints(holder, {}, dict(names), include_extras=True)["value"]
    return typing.get_type_hints(holder, {}, names, include_extras=True)["value"]


def captured_names(annotations: Iterable[Any], frame: types.FrameType | None) -> dict[str, Any]:
    """Return the local variables of the function around a class that its string annotations mention."""
    if frame is None or frame.f_locals is frame.f_globals:
        return {}
    mentioned = {name for annotation in annotations for name in _IDENTIFIER.findall(_source(annotation))}
    return {name: value for name, value in frame.f_locals.items() if name in mentioned}


def stream_form(annotation: Any, scope: Scope) -> StreamForm | None:
    """Return the form of an annotated stream, or None. The type of its messages need not be resolvable yet."""
    if annotation is UNANNOTATED:
        return None
    try:
        known = evaluate(annotation, scope)
    except Exception:  # a forward reference, or not a type: reported when the types are resolved
        return _form_of_source(_source(annotation), scope) if _source(annotation) else _form_of(annotation)
    return _form_of(known)


def item_type(annotation: Any) -> Any:
    """Return T for `AsyncIterator[T]`, Any without an argument, bytes for an `Upload`."""
    plain = _without_metadata(annotation)
    if plain is Upload:
        return bytes
    arguments = get_args(plain)
    return arguments[0] if arguments else Any


def type_variables(owner: type[Any]) -> dict[Any, dict[Any, Any]]:
    """Return the type arguments of each class that `owner` inherits from."""
    known: dict[Any, dict[Any, Any]] = {owner: {}}
    for member in owner.__mro__:
        for base in vars(member).get("__orig_bases__", ()):
            origin = get_origin(base)
            if origin in {None, Generic, Protocol}:
                continue
            arguments = [evaluate(argument, Scope(member, member)) for argument in get_args(base)]
            values = [substitute(argument, known.get(member, {}), keep=True) for argument in arguments]
            # Arguments for a variable number of parameters cannot be paired. Such bases stay unresolved.
            pairs = zip(getattr(origin, "__parameters__", ()), values, strict=False)
            known.setdefault(origin, dict(pairs))
    return known


def substitute(annotation: Any, values: Mapping[Any, Any], *, keep: bool = False) -> Any:
    """Substitute type variables. A variable without a value becomes its bound or Any, unless `keep`."""
    if isinstance(annotation, typing.TypeVar):
        if annotation in values:
            value = values[annotation]
            return value if keep or not isinstance(value, typing.TypeVar) else substitute(value, {})
        return annotation if keep else _fallback(annotation)
    parameters = getattr(annotation, "__parameters__", ())
    if not parameters or get_origin(annotation) is None:
        return annotation
    return annotation[tuple(substitute(parameter, values, keep=keep) for parameter in parameters)]


def unaliased(annotation: Any) -> Any:
    """Return the type that an alias by `type X[T] = …` means. Other annotations are returned unchanged.

    Libraries define such aliases too, for example numpy 2.5 `NDArray`. An alias with a variable number of parameters is
    returned unchanged.
    """
    origin = get_origin(annotation)
    alias = annotation if origin is None else origin
    # A class may have both attributes without being an alias.
    is_name = (
        not isinstance(alias, type) and hasattr(alias, "__value__") and hasattr(alias, "__type_params__")
    )
    parameters = alias.__type_params__ if is_name else ()
    if not is_name or not all(isinstance(one, typing.TypeVar) for one in parameters):
        return annotation
    return substitute(alias.__value__, dict(zip(parameters, get_args(annotation), strict=False)))


def type_text(annotation: Any) -> str:
    """Return a type as source, without modules."""
    if annotation is UNANNOTATED or annotation is Any:
        return "Any"
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return " | ".join(type_text(argument) for argument in arguments)
    if origin is Literal:
        return f"Literal[{', '.join(repr(argument) for argument in arguments)}]"
    if origin is Annotated:
        return type_text(arguments[0])
    if isinstance(annotation, typing.NewType):
        return type_text(annotation.__supertype__)
    if annotation is Ellipsis:
        return "..."
    if origin is None or not arguments:
        return str(getattr(annotation, "__name__", annotation))
    return f"{type_text(origin)}[{', '.join(type_text(argument) for argument in arguments)}]"


def _type_parameters(owner: Any) -> dict[str, Any]:
    return {parameter.__name__: parameter for parameter in getattr(owner, "__type_params__", ())}


def _fallback(variable: Any) -> Any:
    if getattr(variable, "has_default", bool)():
        return variable.__default__
    if variable.__constraints__:
        return functools.reduce(operator.or_, variable.__constraints__)
    return Any if variable.__bound__ is None else variable.__bound__


def _source(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    return " ".join(_source(argument) for argument in get_args(annotation)) if get_origin(annotation) else ""


def _form_of(annotation: Any) -> StreamForm | None:
    annotation = _without_metadata(annotation)
    return _STREAM_FORMS.get(get_origin(annotation) or annotation) if _is_hashable(annotation) else None


def _form_of_source(source: str, scope: Scope) -> StreamForm | None:
    """Evaluate only the part before the bracket: `AsyncIterator` of "AsyncIterator[User]"."""
    try:
        head: ast.AST = ast.parse(source, mode="eval").body
    except SyntaxError:
        return None
    while isinstance(head, ast.Subscript):
        head = head.value
    try:
        return _form_of(evaluate(ast.unparse(head), scope))
    except Exception:  # imported for type checkers only: compare by name
        return _STREAM_FORMS_BY_NAME.get(ast.unparse(head).rpartition(".")[2])


def _without_metadata(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
