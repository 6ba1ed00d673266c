"""The definitions of remote methods and services, for both sides of a call."""

import dis
import functools
import inspect
import types
from abc import ABC
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from fastrpc._core.payload.arguments import ParameterNames
from fastrpc.errors import ConfigError
from fastrpc.rpc.aliases import ServiceNames
from fastrpc.rpc.faults import OWN_FAULTS, Faults
from fastrpc.rpc.given_coders import GivenCoders
from fastrpc.rpc.method_options import MethodOptions
from fastrpc.rpc.schema.annotation import evaluate, item_type, substitute, type_text, type_variables
from fastrpc.rpc.schema.conversion import holds_arrays
from fastrpc.rpc.signature import HandlerSignature, Kind, Parameter, Style, check_resolved
from fastrpc.rpc.upload import Upload

__all__ = ["MethodDefinition", "MethodTypes", "ServiceDefinition"]


class MethodTypes(NamedTuple):
    """The types of a method's payloads."""

    #: A type for each of `MethodDefinition.parameters`.
    parameters: tuple[Any, ...]
    #: The type of the result, or of one message of the stream that the server sends.
    result: Any
    #: The type of one message of the stream that the caller sends; None without a stream.
    message: Any


class MethodDefinition:
    """A remote method: names, options, parameters and result."""

    __slots__ = (
        "__weakref__",
        "_admits_none",
        "_has_array_result",
        "_types",
        "attribute",
        "codec",
        "faults",
        "full_name",
        "function",
        "given_coders",
        "idempotent",
        "inline",
        "is_checked",
        "marshals",
        "name",
        "options",
        "owner",
        "passes_on",
        "promised",
        "public",
        "renamed",
        "roles",
        "service",
        "service_names",
        "signature",
        "takes_upload",
        "timeout",
    )

    #: True if values are passed on without decoding, as in a gateway. The types then describe the values, and are not
    #: checked.
    passes_on: bool
    #: True if `check_service` of `rpc/marshals` has checked that the types can be encoded. It is called once, because
    #: types do not change.
    is_checked: bool
    #: The functions that encode and decode the payloads in place of the codec, or None.
    given_coders: GivenCoders | None
    #: The rules for the errors that callers receive.
    faults: Faults
    #: Computed on first use; None before that.
    _types: MethodTypes | None
    _admits_none: bool | None
    _has_array_result: bool | None

    def __init__(
        self,
        owner: type[Any],
        service: ServiceNames,
        attribute: str,
        function: Callable[..., Any],
        *,
        options: MethodOptions,
        signature: HandlerSignature,
        promised: Sequence["MethodDefinition"] = (),
    ) -> None:
        #: The class under `@service`, or a class that inherits from it.
        self.owner = owner
        self.service = service.name
        #: The name on the wire, without the service's name. `attribute` is the name in the class.
        self.name = options.name or attribute
        self.full_name = f"{service.name}.{self.name}"
        self.service_names = service
        self.attribute = attribute
        #: The function in the class. Callers may pass it to name the method.
        self.function = function
        self.options = options
        self.idempotent = bool(options.idempotent or options.safe)
        self.inline = bool(options.inline) and not signature.is_async
        self.public = bool(options.public)
        #: A caller needs one of these roles; empty if no role is needed.
        self.roles = options.roles or frozenset()
        #: Seconds: the default in clients and the limit in servers; None if not given.
        self.timeout = options.timeout
        #: The value of `codec=`. `codec_for` of `rpc/marshals` returns the codec of a call.
        self.codec = options.codec
        self.signature, self.takes_upload = signature, signature.takes_upload
        self.is_checked, self.passes_on, self.given_coders, self.faults = False, False, None, OWN_FAULTS
        #: The methods that this method implements or overrides. Callers may pass any of them to name this method.
        self.promised = tuple(promised)
        #: Old names of parameters, mapped to their current names.
        self.renamed = _kept_names(options, signature)
        #: The marshals prepared by `marshal_for` of `rpc/marshals`.
        self.marshals: dict[tuple[str, int, int, bool, bool], Any] = {}
        self._types = self._admits_none = self._has_array_result = None

    def __repr__(self) -> str:
        return f"<MethodDefinition {self.full_name} {self.kind} {self.style}>"

    @property
    def names(self) -> tuple[str, ...]:
        """All names without the service's name, the canonical one first."""
        return self.service_names.of_method(self.name, self.options.alias or ())

    @property
    def aliases(self) -> tuple[str, ...]:
        """All full names except the canonical one."""
        return self.service_names.full_aliases(self.name, self.options.alias or ())

    @property
    def safe(self) -> bool:
        """True if a call changes nothing."""
        return bool(self.options.safe)

    @property
    def tool(self) -> bool:
        """True if language models may call the method."""
        return bool(self.options.tool)

    @property
    def kind(self) -> Kind:
        return self.signature.kind

    @property
    def style(self) -> Style:
        if self.signature.is_async:
            return "async"
        return "inline" if self.inline else "thread"

    @property
    def label(self) -> str:
        """The name of the method in the program: `Arith.mul`."""
        return f"{self.owner.__qualname__}.{self.attribute}"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters sent as arguments, in order: without `self` and without a stream."""
        return self.signature.parameters

    @property
    def result(self) -> Any:
        """The type of the result, or of one message of the server's stream."""
        return self.types().result

    @property
    def admits_none(self) -> bool:
        """True if the result may be None."""
        if self._admits_none is None:
            self._admits_none = _admits_none(self.result)
        return self._admits_none

    @property
    def has_array_result(self) -> bool:
        """True if the result's type contains a numpy array, which only msgpack can encode."""
        if self._has_array_result is None:
            self._has_array_result = holds_arrays([self.result])
        return self._has_array_result

    @property
    def is_stub(self) -> bool:
        """True if this is a method of a contract with an empty body, `...`."""
        return _is_stub(self.function)

    @property
    def documentation(self) -> str:
        return inspect.getdoc(self.function) or ""

    def accepted_names(self) -> ParameterNames:
        """Return the parameter names that calls may send: current names, old names, and names in contracts."""
        own = _spelling(self)
        return ParameterNames(
            tuple(parameter.name for parameter in self.parameters),
            (own, *(_matching(_spelling(contract), own) for contract in self._contracts())),
        )

    def types(self) -> MethodTypes:
        """Resolve the annotations; ConfigError names a parameter whose type is unknown at run time."""
        if self._types is None:
            self._types = self._resolve()
        return self._types

    def bind_stream(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], stream: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments with the caller's stream inserted at its position."""
        parameter, at = self.signature.stream, self.signature.stream_position
        if parameter is None:
            return args, dict(kwargs)
        if self.takes_upload:
            form = stream.form
            texts = {} if form is None else {"filename": form.filename, "content_type": form.content_type}
            stream = Upload(stream, **texts)
        if parameter.by_position and len(args) >= at:
            return (*args[:at], stream, *args[at:]), dict(kwargs)
        return args, {**kwargs, parameter.name: stream}

    def split_stream(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        """Return the arguments of a call without the caller's stream, and the stream.

        Raises:
            TypeError: the stream is missing or given twice, as for a local call.
        """
        parameter, at = self.signature.stream, self.signature.stream_position
        if parameter is None:
            raise TypeError(f"{self.label} has no stream parameter")
        by_position = parameter.by_position and len(args) > at
        by_name = parameter.by_name and parameter.name in kwargs
        if by_position and by_name:
            raise TypeError(f"{self.label}() got multiple values for argument {parameter.name!r}")
        if by_position:
            return (*args[:at], *args[at + 1 :]), dict(kwargs), args[at]
        if by_name:
            rest = dict(kwargs)
            return args, rest, rest.pop(parameter.name)
        raise TypeError(
            f"{self.label}() missing 1 required argument: {parameter.name!r}, the messages to send"
        )

    def _contracts(self) -> Iterator["MethodDefinition"]:
        """Yield the contract methods that this method implements, directly or through another contract method."""
        left = [*self.promised]
        while left:
            contract = left.pop(0)
            yield contract
            left[:0] = contract.promised

    def _resolve(self) -> MethodTypes:
        signature = self.signature
        variables = type_variables(self.owner)

        def resolved(annotation: Any, scope: Any, place: str) -> Any:
            try:
                known = evaluate(annotation, scope)
            except NameError as error:
                raise _unknown_name(self, place, annotation, error) from error
            except Exception as error:
                raise ConfigError(
                    f"{self.label}: {place} is {type_text(annotation)}, no type: {error}"
                ) from error
            return substitute(known, variables.get(scope.defined_in, {}))

        def received(parameter: Parameter) -> Any:
            known = resolved(parameter.annotation, parameter.scope, f"parameter {parameter.name!r}")
            check_resolved(signature, parameter, known, self.function)
            return known

        parameters = tuple(map(received, signature.parameters))
        message = None if signature.stream is None else item_type(received(signature.stream))
        result = resolved(signature.result, signature.result_scope, "the result")
        return MethodTypes(parameters, item_type(result) if signature.has_stream_result else result, message)


class ServiceDefinition:
    """A service: its name and the methods of one class."""

    __slots__ = ("__weakref__", "contract", "is_part", "methods", "names", "owner", "version")

    def __init__(
        self,
        owner: type[Any],
        names: ServiceNames,
        methods: Mapping[str, MethodDefinition],
        *,
        version: str | None = None,
        contract: "ServiceDefinition | None" = None,
    ) -> None:
        self.owner = owner
        self.names = names
        self.version = version
        #: The methods by name on the wire: base classes first, then in source order.
        self.methods: Mapping[str, MethodDefinition] = types.MappingProxyType(dict(methods))
        #: The contract of `implements=`.
        self.contract = contract
        #: True if other classes may have further methods of the service.
        self.is_part = False

    def __repr__(self) -> str:
        methods = ", ".join(self.methods) or "empty"
        return f"<ServiceDefinition {self.name} of {self.owner.__qualname__}: {methods}>"

    @property
    def name(self) -> str:
        return self.names.name

    @property
    def documentation(self) -> str:
        return inspect.getdoc(self.owner) or "" if self.owner.__doc__ else ""

    def unimplemented(self) -> tuple[str, ...]:
        """Return the names of the methods without an implementation, which have only the `...` of a contract."""
        return tuple(name for name, definition in self.methods.items() if _is_unimplemented(definition))

    def handlers(self, instance: Any) -> dict[str, Callable[..., Any]]:
        """Return the bound handler of each method by its name on the wire.

        A handler of style "async" returns a coroutine object, or an asynchronous iterator if its result is a stream.
        Raises ConfigError if the class has no method, or lacks methods of its contract.
        """
        # Imported here, because most services do not need it.
        from fastrpc.rpc.background.marks import background_methods

        if not self.methods and not background_methods(self.owner):
            raise ConfigError(
                f"{self.owner.__qualname__} serves {self.name!r} without a method",
                hint=f"put @fastrpc.method above {_candidates(self.owner) or 'each function that is to be called'}",
            )
        if missing := self.unimplemented():
            raise ConfigError(
                f"{self.owner.__qualname__} serves {self.name!r} without {', '.join(missing)}",
                hint="the contract has no code; write the handlers in a class that implements it",
            )
        return {name: _bound(instance, definition) for name, definition in self.methods.items()}


def _admits_none(kind: Any) -> bool:
    try:
        msgspec.convert(None, kind)
    except msgspec.ValidationError:
        return False
    except TypeError:  # A type unknown to msgspec may be any type.
        return True
    return True


def _spelling(definition: MethodDefinition) -> list[set[str]]:
    """Return the names of each parameter, including old names."""
    return [
        {parameter.name, *(old for old, new in definition.renamed.items() if new == parameter.name)}
        for parameter in definition.parameters
    ]


def _matching(spelling: list[set[str]], own: list[set[str]]) -> Iterator[set[str]]:
    """Yield, for each of our parameters, its names in a contract except names that only our other parameters have.

    Stop at the first parameter without such a name.
    """
    for position, (names, here) in enumerate(zip(spelling, own, strict=False)):
        elsewhere = set().union(*own[:position], *own[position + 1 :]) - here
        if not names - elsewhere:
            return
        yield names - elsewhere


def _candidates(owner: type[Any]) -> str:
    """Return the names of the functions of a class that are probably meant to be remote methods."""
    names = [
        name for name, value in vars(owner).items() if inspect.isfunction(value) and not name.startswith("_")
    ]
    return ", ".join(names[:5])


def _bound(instance: Any, definition: MethodDefinition) -> Callable[..., Any]:
    handler: Callable[..., Any] = getattr(instance, definition.attribute)
    if (
        definition.style != "async"
        or definition.signature.has_stream_result
        or inspect.iscoroutinefunction(handler)
    ):
        return handler
    return _as_coroutine(handler)


def _as_coroutine(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return a coroutine function for a decorated handler that returns an awaitable other than a coroutine."""

    @functools.wraps(handler)
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await handler(*args, **kwargs)

    return run


def _unknown_name(definition: MethodDefinition, place: str, annotation: Any, error: NameError) -> ConfigError:
    name = f"{error.name!r}" if getattr(error, "name", None) else f"a name ({error})"
    return ConfigError(
        f"{definition.label}: {place} is {type_text(annotation)}, but {name} is unknown at run time",
        hint="import it outside `if TYPE_CHECKING:`, or define it where the module can see it",
    )


def _is_stub(function: Any) -> bool:
    """Return whether the body of a function is only `...`, `pass` or a docstring.

    Python keeps only the compiled code of a function, so compare it with the code of functions with empty bodies.
    """
    code: Any = getattr(function, "__code__", None)
    # Stubs use no names. This is checked first, because it excludes most functions without the slow comparison.
    return isinstance(code, types.CodeType) and not code.co_names and _steps(code) in _stub_steps()


@functools.cache
def _stub_steps() -> tuple[list[tuple[str, Any]], ...]:
    def stub() -> None: ...

    async def async_stub() -> None: ...

    return _steps(stub.__code__), _steps(async_stub.__code__)


def _steps(code: types.CodeType) -> list[tuple[str, Any]]:
    """Return the instructions of a code object with their operands, without positions."""
    return [(step.opname, step.argval) for step in dis.get_instructions(code) if step.opname != "NOP"]


def _is_unimplemented(definition: MethodDefinition) -> bool:
    """Return whether the handler is a stub of an abstract class."""
    if not _is_stub(definition.function):
        return False
    writer = definition.signature.scope.defined_in or definition.owner
    return bool(getattr(writer, "_is_protocol", False)) or ABC in writer.__bases__


def _kept_names(options: MethodOptions, signature: HandlerSignature) -> dict[str, str]:
    """Return the old names of parameters, without inherited names that this signature does not have."""
    names = {parameter.name for parameter in signature.parameters}
    return {old: new for old, new in (options.renamed or {}).items() if new in names and old not in names}
