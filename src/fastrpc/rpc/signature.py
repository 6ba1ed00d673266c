"""Parse a handler's signature, and refuse a signature that a remote method cannot have."""

import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, NoReturn

from fastrpc.errors import ConfigError
from fastrpc.rpc.schema.annotation import (
    UNANNOTATED,
    Scope,
    StreamForm,
    evaluate,
    item_type,
    stream_form,
    type_text,
    unwrapped,
)
from fastrpc.rpc.schema.foreign_markers import (
    annotation_refusal,
    constraint_of,
    default_refusal,
    field_constraints,
    field_refusal,
)

__all__ = [
    "NO_DEFAULT",
    "HandlerSignature",
    "Kind",
    "Parameter",
    "Style",
    "check_raw",
    "check_resolved",
    "form_of",
    "name_of",
    "read_signature",
    "warn_of_parameters",
]

#: The kind of a method's calls. "client" and "server" name the side that sends a stream.
Kind = Literal["unary", "client_stream", "server_stream", "both_ways"]

#: How a handler runs: as a coroutine or async generator on the loop, in a thread, or as a plain function on the loop.
Style = Literal["async", "thread", "inline"]

#: The default of a parameter without a default.
NO_DEFAULT: Final[Any] = inspect.Parameter.empty

#: The most characters of a default that a shown signature contains.
LONGEST_DEFAULT: Final = 40

#: _SELF: names of a first parameter that may have any annotation. _SELF_PREFIXES: prefixes of further such names.
_SELF: Final = frozenset({"this", "cls"})
_SELF_PREFIXES: Final = ("self", "_")

#: How a handler is written.
Form = Literal["coroutine", "async_generator", "generator", "plain"]


class Parameter(NamedTuple):
    """One parameter of a handler, after `self`."""

    name: str
    annotation: Any
    scope: Scope
    default: Any = NO_DEFAULT
    by_position: bool = True
    by_name: bool = True
    #: An object of another library in the annotation that has no effect in fastrpc; found only if its name was known
    #: when the signature was parsed.
    constraint: str | None = None

    @property
    def is_required(self) -> bool:
        return self.default is NO_DEFAULT

    @property
    def default_text(self) -> str:
        """The default as source; `...` if it has no short form."""
        text = repr(self.default)
        # Compare classes exactly: enum members may be texts or numbers, but are written differently.
        is_plain = self.default is None or type(self.default) in {bool, int, float, str, bytes}
        return text if is_plain and len(text) <= LONGEST_DEFAULT else "..."

    def __str__(self) -> str:
        text = self.name if self.annotation is UNANNOTATED else f"{self.name}: {type_text(self.annotation)}"
        return text if self.is_required else f"{text} = {self.default_text}"


class HandlerSignature(NamedTuple):
    """A handler's signature, parsed and checked."""

    label: str
    #: The scope of the handler. A parameter with an inherited annotation has another scope.
    scope: Scope
    #: The parameters that are sent as arguments, in order, without the stream.
    parameters: tuple[Parameter, ...]
    #: `stream`: the parameter for the caller's stream. `stream_position`: its position among all parameters.
    stream: Parameter | None
    stream_position: int
    result: Any
    result_scope: Scope
    is_async: bool
    has_stream_result: bool

    @property
    def kind(self) -> Kind:
        if self.stream is None:
            return "server_stream" if self.has_stream_result else "unary"
        return "both_ways" if self.has_stream_result else "client_stream"

    @property
    def takes_upload(self) -> bool:
        """True if the stream may be an uploaded file of a form."""
        stream = self.stream
        return stream is not None and stream_form(stream.annotation, stream.scope) == "upload"

    def with_scope(self, scope: Scope) -> "HandlerSignature":
        """Return the signature with names looked up in `scope`."""
        return self._replace(
            scope=scope,
            parameters=tuple(parameter._replace(scope=scope) for parameter in self.parameters),
            stream=None if self.stream is None else self.stream._replace(scope=scope),
            result_scope=scope,
        )

    def untyped(self) -> "HandlerSignature":
        """Return the signature with `Any` for all parameters and the result, without a stream."""
        return self._replace(
            parameters=tuple(
                Parameter(one.name, Any, one.scope, one.default, one.by_position, one.by_name)
                for one in self.received()
            ),
            stream=None,
            result=Any,
        )

    def filled_from(self, inherited: "HandlerSignature") -> "HandlerSignature":
        """Return the signature with missing annotations taken from `inherited`, by parameter name."""
        known = {parameter.name: parameter for parameter in inherited.parameters}

        def filled(parameter: Parameter, source: Parameter | None) -> Parameter:
            if source is None or parameter.annotation is not UNANNOTATED:
                return parameter
            return parameter._replace(
                annotation=source.annotation, scope=source.scope, constraint=source.constraint
            )

        is_open = self.result is UNANNOTATED and self.has_stream_result == inherited.has_stream_result
        return self._replace(
            parameters=tuple(filled(parameter, known.get(parameter.name)) for parameter in self.parameters),
            stream=None if self.stream is None else filled(self.stream, inherited.stream),
            result=inherited.result if is_open else self.result,
            result_scope=inherited.result_scope if is_open else self.result_scope,
        )

    def received(self) -> list[Parameter]:
        """Return the parameters that a caller sends: arguments, then the stream."""
        return [*self.parameters, *([] if self.stream is None else [self.stream])]

    def annotations(self) -> list[Any]:
        """Return all annotations."""
        return [*(parameter.annotation for parameter in self.received()), self.result]


def read_signature(handler: Callable[..., Any], *, has_self: bool = True) -> HandlerSignature:
    """Parse the signature of a function under `@method`. TypeError suggests a valid form.

    Args:
        has_self: True if the first parameter is the instance.
    """
    label = getattr(handler, "__qualname__", None) or repr(handler)
    scope = Scope(handler)
    signature = _signature_of(handler, label)
    parameters = [_parameter(label, parameter, scope, handler) for parameter in signature.parameters.values()]
    if has_self:
        _check_self(label, parameters, handler)
        del parameters[0]
    _check_markers(label, parameters)
    stream, position = _stream_parameter(label, parameters)
    result = _annotation(signature.return_annotation, inspect.Signature.empty)
    form = form_of(handler)
    has_stream_result = _check_result(label, form, result, scope)
    is_async = form in {"coroutine", "async_generator"} or (
        form == "plain" and has_stream_result and stream_form(result, scope) == "async"
    )
    return HandlerSignature(
        label=label,
        scope=scope,
        parameters=tuple(parameter for parameter in parameters if parameter is not stream),
        stream=stream,
        stream_position=position,
        result=result,
        result_scope=scope,
        is_async=is_async,
        has_stream_result=has_stream_result,
    )


def warn_of_parameters(signature: HandlerSignature, handler: Any) -> None:
    """Warn, at the line of the handler, of mutable defaults and of limits that are not checked.

    A call may change a mutable default for all other calls. Limits of other libraries have no effect. As in
    `dataclasses`, unhashable defaults count as mutable.
    """
    for parameter in signature.parameters:
        if not parameter.is_required and type(parameter.default).__hash__ is None:
            kind = type(parameter.default).__name__
            _warn(
                f"{signature.label}: the default of {parameter.name!r} is one {kind} for all calls, "
                f"and a call that changes it changes it for every caller: write {parameter.name}=None, and make it "
                "in the method",
                handler,
            )
    for parameter in signature.received():
        if parameter.constraint is not None:
            _warn_of_constraint(signature.label, repr(parameter.name), parameter.constraint, handler)


def check_resolved(signature: HandlerSignature, parameter: Parameter, known: Any, handler: Any) -> None:
    """Check the markers of other libraries again once the type of a parameter is known.

    Raises:
        ConfigError: the type has a dependency, is a request object, or contains a class with a marker as a default.
    """
    refusal = annotation_refusal(parameter.name, known, parameter.scope)
    refusal = refusal or field_refusal(parameter.name, known)
    if refusal is not None:
        raise ConfigError(f"{signature.label}: {refusal}")
    constraint = constraint_of(known, parameter.scope)
    if constraint is not None and constraint != parameter.constraint:
        _warn_of_constraint(signature.label, repr(parameter.name), constraint, handler)
    for field, limit in field_constraints(known, parameter.scope):
        _warn_of_constraint(signature.label, f"{field}, of {parameter.name!r},", limit, handler)


def _warn_of_constraint(label: str, place: str, constraint: str, handler: Any) -> None:
    _warn(
        f"{label}: {constraint} at {place} is not checked here: write "
        "msgspec.Meta(ge=…, le=…, min_length=…, pattern=…) in its place",
        handler,
    )


def _warn(text: str, handler: Any) -> None:
    code = getattr(inspect.unwrap(handler), "__code__", None)
    warnings.warn_explicit(
        text,
        UserWarning,
        filename="<unknown>" if code is None else code.co_filename,
        lineno=1 if code is None else code.co_firstlineno,
        module=getattr(handler, "__module__", None),
    )


def _check_self(label: str, parameters: Sequence[Parameter], handler: Callable[..., Any]) -> None:
    """Refuse a function without `self`, or with a first parameter that looks like an argument."""
    if not parameters or not parameters[0].by_position:
        raise TypeError(f"{label} has no `self`: write `def {handler.__name__}(self, …)`")
    first = parameters[0]
    if first.annotation is UNANNOTATED or first.name in _SELF or first.name.startswith(_SELF_PREFIXES):
        return
    # The class does not exist yet, so compare its name with the annotation. A deferred annotation has quotes.
    around = label.split(".")[-2:-1]
    written = type_text(first.annotation).strip("'\" ").partition("[")[0]
    if written.rpartition(".")[2] not in {"Self", *around}:
        raise TypeError(
            f"{label}: the first parameter {first.name!r} is annotated, so it is taken for an argument:"
            f" write `self` before it, `def {handler.__name__}(self, {first.name}, …)`"
        )


def check_raw(signature: HandlerSignature) -> None:
    """Refuse annotations other than `bytes` in a method with codec "raw"."""
    how = 'with codec="raw" write `(self, data: bytes) -> bytes`'
    if len(signature.parameters) != 1 and (signature.stream is None or signature.parameters):
        raise TypeError(f"{signature.label} has {len(signature.parameters)} parameters: {how}")
    for parameter in signature.parameters:
        if not _is_bytes(parameter.annotation, parameter.scope):
            raise TypeError(
                f"{signature.label}: parameter {parameter.name!r} is not annotated as bytes: {how}"
            )
        if not parameter.is_required and parameter.default != b"":
            raise TypeError(
                f"{signature.label}: parameter {parameter.name!r} has a default, but raw payload left out"
                ' is the same as an empty one: leave the default out, or make it b""'
            )
    stream = signature.stream
    if stream is not None and not _is_bytes_stream(stream.annotation, stream.scope):
        raise TypeError(
            f"{signature.label}: parameter {stream.name!r} does not stream bytes:"
            ' with codec="raw" write `AsyncIterator[bytes]`'
        )
    is_result_bytes = _is_bytes_stream if signature.has_stream_result else _is_bytes
    if not is_result_bytes(signature.result, signature.result_scope):
        raise TypeError(f"{signature.label}: the result is not annotated as bytes: {how}")


def _signature_of(handler: Callable[..., Any], label: str) -> inspect.Signature:
    # Use the wrapper's signature, not the signature of the wrapped function, unless the wrapper has `__signature__`.
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            return inspect.signature(
                handler, follow_wrapped=False, annotation_format=annotationlib.Format.FORWARDREF
            )
        return inspect.signature(handler, follow_wrapped=False)
    except ValueError as error:
        raise TypeError(f"{label} has no signature that can be read: {error}") from error


def _parameter(label: str, source: inspect.Parameter, scope: Scope, handler: Callable[..., Any]) -> Parameter:
    if source.kind in {source.VAR_POSITIONAL, source.VAR_KEYWORD}:
        stars = "*" if source.kind is source.VAR_POSITIONAL else "**"
        advice = "write each parameter out"
        if hasattr(handler, "__wrapped__"):
            advice = "it is a wrapper: put @fastrpc.method below its decorator, or set its `__signature__`"
        raise TypeError(
            f"{label} has `{stars}{source.name}`, but a remote method takes a fixed list of parameters: {advice}"
        )
    annotation = _annotation(source.annotation, inspect.Parameter.empty)
    return Parameter(
        name=source.name,
        annotation=annotation,
        scope=scope,
        default=source.default,
        by_position=source.kind is not source.KEYWORD_ONLY,
        by_name=source.kind is not source.POSITIONAL_ONLY,
        constraint=constraint_of(annotation, scope),
    )


def _check_markers(label: str, parameters: Sequence[Parameter]) -> None:
    """Refuse FastAPI's markers and request objects: the value would be the marker, or whatever the caller sends."""
    for parameter in parameters:
        refusal = default_refusal(parameter.name, parameter.default) or annotation_refusal(
            parameter.name, parameter.annotation, parameter.scope
        )
        if refusal is not None:
            raise TypeError(f"{label}: {refusal}")


def _annotation(annotation: Any, empty: Any) -> Any:
    return UNANNOTATED if annotation is empty else annotation


def _stream_parameter(label: str, parameters: Sequence[Parameter]) -> tuple[Parameter | None, int]:
    found: list[tuple[Parameter, int]] = []
    for position, parameter in enumerate(parameters):
        form = stream_form(parameter.annotation, parameter.scope)
        if form in {"sync", "maybe_sync"}:
            raise TypeError(
                f"{label}: parameter {parameter.name!r} is {type_text(parameter.annotation)}:"
                " write `AsyncIterator[T]` for a stream from the caller, `list[T]` for a value"
            )
        if form is not None:
            found.append((parameter, position))
    if len(found) > 1:
        names = " and ".join(repr(parameter.name) for parameter, _ in found)
        raise TypeError(
            f"{label} has several streams, {names}: a call has one; send tagged messages through it"
        )
    if not found:
        return None, -1
    if not found[0][0].is_required:
        raise TypeError(
            f"{label}: the stream {found[0][0].name!r} has a default, but every call sends a stream"
        )
    return found[0]


def form_of(handler: Callable[..., Any]) -> Form:
    """Return the form of a handler. A plain wrapper has the form of the wrapped function."""
    for function in unwrapped(handler):
        if inspect.isasyncgenfunction(function):
            return "async_generator"
        # Compiled coroutine functions have this marker. `iscoroutinefunction` ignores it before Python 3.12.
        if inspect.iscoroutinefunction(function) or getattr(function, "_is_coroutine", None) is not None:
            return "coroutine"
        if inspect.isgeneratorfunction(function):
            return "generator"
    return "plain"


def _check_result(label: str, form: Form, result: Any, scope: Scope) -> bool:
    """Return whether the result is a stream. Raise TypeError if the annotation contradicts the body."""
    stream = stream_form(result, scope)
    written = "nothing" if result is UNANNOTATED else f"`{type_text(result)}`"
    name = label.rpartition(".")[2]
    match form:
        case _ if stream == "upload":
            _refuse(label, f"has the result {written}, which is a parameter: write `-> AsyncIterator[bytes]`")
        case "async_generator" if stream not in {"async", "maybe_async"} and result is not UNANNOTATED:
            _refuse(label, f"yields, but its result is {written}: write `-> AsyncIterator[T]`")
        case "generator" if stream not in {"sync", "maybe_sync"} and result is not UNANNOTATED:
            _refuse(label, f"yields, but its result is {written}: {_generator_advice(stream)}")
        case "coroutine" if stream in {"async", "maybe_async"}:
            _refuse(
                label,
                f"is `async def` with the result {written}, but does not `yield`: yield the messages,"
                f" or write `def {name}` without `async` (so in a contract)",
            )
        case "coroutine" if stream == "sync":
            _refuse(
                label, f"is `async def` with the result {written}: write `AsyncIterator` and `yield` in it"
            )
        case "plain":
            return stream in {"async", "sync", "maybe_async"}
        case "async_generator" | "generator":
            return True
    return False


def _generator_advice(stream: StreamForm | None) -> str:
    return "write `async def`" if stream is not None else "write `-> Iterator[T]`"


def _refuse(label: str, reason: str) -> NoReturn:
    raise TypeError(f"{label} {reason}")


def _is_bytes(annotation: Any, scope: Scope) -> bool:
    try:
        return evaluate(annotation, scope) is bytes
    except Exception:
        return False


def _is_bytes_stream(annotation: Any, scope: Scope) -> bool:
    try:
        return item_type(evaluate(annotation, scope)) is bytes
    except Exception:
        return False


def name_of(thing: Any) -> str:
    """Return the name of a function in the program, for messages."""
    inner = getattr(thing, "__func__", None) or getattr(thing, "fget", None) or thing
    return getattr(inner, "__qualname__", None) or repr(thing)
