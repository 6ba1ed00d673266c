"""Services of `fastrpc gateway`: each method forwards its calls to the servers of a registry.

Values are passed on undecoded, in the codec in which they arrived: a contract has the names and types of a server, but
only the server has the checks and conversions of its classes, such as pydantic models. For gRPC servers values are
decoded, by a contract or by the descriptors of the server, as messages have another form.

A caller's metadata is passed on, including its `authorization`, and so are its deadline, request id and cancellation. A
token that is only meant for the gateway is not passed on, nor are the token and the certificate that the gateway shows
to a registry.
"""

import inspect
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from types import GenericAlias
from typing import Any, Final, NamedTuple, Protocol, get_origin

import msgspec

from fastrpc._core.calls.call import current_call
from fastrpc._core.client.caller_view import add_entry
from fastrpc._core.http.forwarded_answer import ASKS_FIELDS, take_told
from fastrpc.assigned_numbers import CODECS, VALUE_CODECS
from fastrpc.client.client import Client
from fastrpc.errors import CallError, FastRPCError
from fastrpc.rpc.aliases import ServiceNames
from fastrpc.rpc.definition import MethodDefinition, MethodTypes, ServiceDefinition
from fastrpc.rpc.marking import method
from fastrpc.rpc.marshals import codec_for
from fastrpc.rpc.reply import received_block
from fastrpc.rpc.schema.json_schema import SchemaSet
from fastrpc.rpc.service import service, service_definition
from fastrpc.rpc.signature import NO_DEFAULT
from fastrpc.status import Status
from fastrpc.tls.failures import DEMANDS_CERTIFICATE

__all__ = [
    "Behind",
    "ForwardedMethod",
    "ForwardedParameter",
    "Forwarder",
    "forwarded_methods",
    "forwarding_service",
]

logger = logging.getLogger("fastrpc.server")

#: Statuses of errors of target servers that are faults of the call itself.
_OF_THE_CALL: Final = frozenset({Status.INVALID_ARGUMENT, Status.RESOURCE_EXHAUSTED})

#: The texts for callers about other errors of target servers.
_ON_THE_WAY: Final = {
    Status.UNAVAILABLE: "no server could be reached",
    Status.DEADLINE_EXCEEDED: "no server answered before the deadline",
}

#: The prefix of metadata that concerns a single hop.
_OF_ONE_HOP: Final = "frpc-"

#: The protocols whose callers get a status and fields of HTTP with an answer.
_BY_HTTP: Final = frozenset({"connect", "http"})

#: Codecs of methods whose payload is one value in a special form.
_OF_ONE_VALUE: Final = frozenset({"raw", "protobuf"})

_CODEC_NAMES: Final[Mapping[int, str]] = {number: name for name, number in CODECS.items()} | dict(
    VALUE_CODECS
)


class Behind(Protocol):
    """The way to call a method whose arguments at the target server differ from its arguments here."""

    @property
    def target(self) -> Any:
        """The method in the form that clients accept."""

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
        """Return the arguments for the target's method; CallError if they do not fit."""

    def details(self, details: Any) -> Any:
        """Return the details of an error as values."""


class ForwardedParameter(NamedTuple):
    """A parameter of a target server's method."""

    name: str
    annotation: Any
    default: Any = NO_DEFAULT
    by_position: bool = True
    by_name: bool = True


class ForwardedMethod(NamedTuple):
    """A method of a target server, as its contract or its server's reflection describes it."""

    name: str
    parameters: Sequence[ForwardedParameter]
    result: Any
    kind: str
    documentation: str = ""
    #: The parameter that is a stream, the type of its messages, and its place among all parameters.
    stream: tuple[str, Any, int] | None = None
    #: The options of `@method`.
    options: Mapping[str, Any] = {}
    #: The way to call the method, if its arguments or its name at the target server differ.
    behind: Behind | None = None


def forwarded_methods(definition: ServiceDefinition, *, is_grpc: bool = False) -> list[ForwardedMethod]:
    """Return the methods of a contract.

    Args:
        is_grpc: whether the servers speak gRPC, for which values are decoded.

    Raises:
        ConfigError: a type is unknown at run time.
    """
    return [_of_contract(one, is_grpc=is_grpc) for one in definition.methods.values()]


def _of_contract(definition: MethodDefinition, *, is_grpc: bool) -> ForwardedMethod:
    known, signature = definition.types(), definition.signature
    if not is_grpc and codec_for(definition, "json") not in _OF_ONE_VALUE:
        known = MethodTypes(
            tuple(map(_described, known.parameters)), _described(known.result), _described(known.message)
        )
    stream = None
    if signature.stream is not None:
        stream = (signature.stream.name, known.message, signature.stream_position)
    return ForwardedMethod(
        name=definition.name,
        parameters=[
            ForwardedParameter(one.name, kind, one.default, one.by_position, one.by_name)
            for one, kind in zip(definition.parameters, known.parameters, strict=True)
        ],
        result=known.result,
        kind=definition.kind,
        documentation=definition.documentation,
        stream=stream,
        options={
            "idempotent": definition.idempotent,
            "safe": definition.safe,
            "tool": bool(definition.options.tool),
            "timeout": definition.timeout,
            # With every other codec values are passed on unchanged.
            "codec": definition.codec if definition.codec in _OF_ONE_VALUE else None,
            "renamed": definition.renamed or None,
            "alias": definition.options.alias or (),
        },
    )


def _described(kind: Any) -> Any:
    """Return a type if it can be described, otherwise the type of any value, for example for a union of models."""
    try:
        SchemaSet().schema_of(kind)
    except (TypeError, ValueError, NameError, AttributeError, RecursionError):
        # The parser of query strings needs to know that there is a list.
        return list[msgspec.Raw] if get_origin(kind) is list else msgspec.Raw
    return kind


def forwarding_service(
    name: str,
    methods: Sequence[ForwardedMethod],
    forwarder: "Forwarder",
    *,
    version: str | None = None,
    documentation: str = "",
    names: ServiceNames | None = None,
) -> Any:
    """Return an instance of a service whose methods call the target's methods of the same names.

    Args:
        names: the other names of the service.

    Raises:
        TypeError, ConfigError: a service cannot have one of the methods.
    """
    namespace: dict[str, Any] = {"__doc__": documentation or None}
    for number, one in enumerate(methods):
        namespace[f"method_{number}"] = method(one.name, **one.options)(_handler(one, forwarder))
    made = type(f"Forwarded{name.title().replace('.', '')}", (), namespace)
    alias, rpcx, grpc = ((), None, None) if names is None else names[1:]
    made = service(name, version=version, alias=alias, rpcx=rpcx, grpc=grpc)(made)
    for definition in service_definition(made).methods.values():
        # Names of fields in Go belong to types, so values with such names have to be decoded.
        has_values = codec_for(definition, "json") not in _OF_ONE_VALUE
        definition.passes_on = rpcx != "go" and has_values and not forwarder.is_grpc
    return made()


class Forwarder:
    """Makes the calls to target servers.

    Args:
        is_grpc: whether the client calls by gRPC.
        hides_token: whether a caller's token is not passed on.
    """

    def __init__(self, client: Client, *, is_grpc: bool = False, hides_token: bool = False) -> None:
        self._client = client
        self.is_grpc = is_grpc
        self._hides_token = hides_token

    def asking_view(self) -> Any:
        """Return the same client as `view`; for HTTP callers it also asks for the status and fields of answers."""
        view = self.view()
        if not self.is_grpc and current_call().peer.protocol in _BY_HTTP:
            add_entry(view, ASKS_FIELDS)
        return view

    def view(self) -> Any:
        """Return the client with metadata and deadline of the current call."""
        call: Any = current_call()
        metadata = {key: value for key, value in call.metadata.items() if not key.startswith(_OF_ONE_HOP)}
        if self._hides_token:
            metadata.pop("authorization", None)
        if self.is_grpc:
            return self._client.with_options(metadata=metadata)
        return self._client.with_options(metadata=metadata, codec=_CODEC_NAMES.get(call.codec_id, "json"))


def _handler(described: ForwardedMethod, forwarder: Forwarder) -> Any:
    """Return the function of a method; its calls name the method."""
    if described.kind in {"server_stream", "both_ways"}:

        async def stream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with _PassedOn(described.behind):
                target, args, kwargs = _sent(described, stream, args, kwargs)
                async with forwarder.view().stream(target, *args, **kwargs) as messages:
                    async for message in messages:
                        yield message
                _answer_with(messages.reply)

        found: Any = stream
    else:

        async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            with _PassedOn(described.behind):
                target, args, kwargs = _sent(described, call, args, kwargs)
                reply = await forwarder.asking_view().request(target, *args, **kwargs)
            _answer_with(reply)
            take_told(received_block(reply))
            return reply.value

        found = call
    found.__name__ = found.__qualname__ = described.name
    found.__doc__ = described.documentation or None
    found.__signature__ = _signature(described)
    return found


def _sent(
    described: ForwardedMethod, own: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the target's method, and its arguments.

    Args:
        own: the function of the method here.
    """
    behind = described.behind
    return (
        (own, args, kwargs) if behind is None else (behind.target, tuple(behind.arguments(args, kwargs)), {})
    )


def _signature(described: ForwardedMethod) -> inspect.Signature:
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    parameters += [_parameter(one) for one in described.parameters]
    if described.stream is not None:
        name, message, place = described.stream
        if not 0 <= place <= len(described.parameters):
            raise ValueError(f"{described.name}: the stream cannot be parameter {place}")
        kind = parameters[min(place, len(parameters) - 1)].kind
        annotation = GenericAlias(AsyncIterator, (message,))
        parameters.insert(1 + place, inspect.Parameter(name, kind, annotation=annotation))
    result: Any = described.result
    if described.kind in {"server_stream", "both_ways"}:
        result = GenericAlias(AsyncIterator, (result,))
    return inspect.Signature(parameters, return_annotation=result)


def _parameter(one: ForwardedParameter) -> inspect.Parameter:
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if not one.by_position:
        kind = inspect.Parameter.KEYWORD_ONLY
    elif not one.by_name:
        kind = inspect.Parameter.POSITIONAL_ONLY
    return inspect.Parameter(one.name, kind, default=one.default, annotation=one.annotation)


def _answer_with(reply: Any) -> None:
    """Give the caller the metadata of an answer."""
    answer = current_call().reply_metadata
    for key, value in reply.metadata.items():
        if not key.startswith(_OF_ONE_HOP):
            answer[key] = value


class _PassedOn:
    """Passes errors of calls to target servers on to callers, as errors of the callers' calls."""

    def __init__(self, behind: Behind | None) -> None:
        self._behind = behind

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if not isinstance(error, FastRPCError):
            return
        details = error.details if self._behind is None else self._behind.details(error.details)
        text, retry_after = error.message, getattr(error, "retry_after", None)
        if not isinstance(error, CallError):
            # Logged at the level of refused calls, since any caller can cause many.
            logger.debug("%s: %s", current_call().method, error)
            text = _told_to_callers(error)
        raise CallError(error.status, text, details=details, retry_after=retry_after) from error


def _told_to_callers(error: FastRPCError) -> str:
    """Return the text for callers about an error of a target server: only the log names servers and the registry."""
    if error.status in _OF_THE_CALL:
        return error.message
    if DEMANDS_CERTIFICATE in error.message:
        return "its servers demand a client certificate; a gateway shows none"
    return f"{current_call().method}: {_ON_THE_WAY.get(error.status, 'the call failed behind the gateway')}"
