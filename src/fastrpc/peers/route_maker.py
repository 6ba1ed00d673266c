"""Routes of the methods that a client calls, and the verbs with which each kind of method can be called."""

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

from fastrpc._core.base.histogram import CallTotals, default_registry
from fastrpc._core.calls.call import MethodRoute
from fastrpc.assigned_numbers import VALUE_CODECS
from fastrpc.config import ClientConfig
from fastrpc.config_errors import ShownAtProgram
from fastrpc.errors import ConfigError
from fastrpc.protocols.base import ClientTraits, client_protocol

if TYPE_CHECKING:
    from fastrpc.config import ServerConfig
    from fastrpc.rpc.definition import MethodDefinition
    from fastrpc.rpc.signature import Kind

__all__ = ["RouteMaker"]

_ITEMS = 1_000_000

#: The payload of a call: an array of its arguments, one value, or a protobuf message.
PayloadForm = Literal["arguments", "value", "message"]

#: The correct verb for each kind of method, for the error about a wrong verb.
_VERBS: "dict[Kind, str]" = {
    "unary": "gives one answer: write client.call(…)",
    "client_stream": "gives one answer to a stream: write client.call(…), or client.open(…) to send by hand",
    "server_stream": "streams its answers: write client.stream(…)",
    "both_ways": "streams both ways: write client.stream(…), or client.open(…) to send by hand",
}

#: The kinds that `call` accepts.
_CALLED: "frozenset[Kind]" = frozenset({"unary", "client_stream"})

#: The kinds that each streaming verb accepts.
_STREAMED: "dict[str, frozenset[Kind]]" = {
    "call": frozenset({"client_stream"}),
    "stream": frozenset({"server_stream", "both_ways"}),
    "open": frozenset({"client_stream", "both_ways"}),
}


#: Codecs whose payload may be one value or an array of arguments.
_VALUE_CODECS = frozenset(VALUE_CODECS.values())


@cache
def _definition_finder() -> "Callable[[Any], MethodDefinition]":
    """Return `method_definition`, imported once: an import in each call would cost more than the rest of the call."""
    from fastrpc.rpc.service import method_definition

    return method_definition


class RouteMaker:
    """Makes the MethodRoute of a method when it is first called."""

    def __init__(
        self, config: "ClientConfig | ServerConfig", totals: CallTotals, *, by_value: bool = False
    ) -> None:
        self._limits = config.limits
        self._totals = totals
        wire = config.wire_protocol if isinstance(config, ClientConfig) else None
        # Whether connections may have different protocols.
        self._has_forms = isinstance(config, ClientConfig) and wire is None and not by_value
        # The protocol and the payload form of all connections, unless they may differ.
        self._protocol = "rpcx" if by_value else "native"
        self._payload: PayloadForm = "value" if by_value else "arguments"
        self._has_streams = not by_value
        if wire is not None:
            known = client_protocol(wire)
            self._protocol = known.name
            self._payload = "value" if by_value else _payload_of(known.traits)
            self._has_streams = known.traits.has_streams
        self._streams: dict[tuple[Any, str, Kind], MethodRoute] = {}

    def __call__(self, method: Any, codec: str) -> MethodRoute:
        """Return the route of a method for `call`.

        Raises:
            TypeError: the method streams its answers.
        """
        with ShownAtProgram(hides_block=True):
            if isinstance(method, str):
                return self._named_route(method, codec, "unary", self._protocol, self._payload)
            definition = _definition_finder()(method)
            if definition.kind not in _CALLED:
                raise TypeError(f"{definition.full_name} {_VERBS[definition.kind]}")
            return self._route(definition, codec, self._protocol, self._payload)

    def stream_route(self, method: Any, codec: str, verb: str, has_input: bool) -> MethodRoute:
        """Return the route of a method for a streaming verb, which implies the kind if the method is given by name.

        Raises:
            TypeError: the verb does not accept this kind of method.
        """
        if isinstance(method, str):
            kind: Kind = "both_ways" if verb == "open" or has_input else "server_stream"
            if verb == "call":
                kind = "client_stream"
        else:
            definition = _definition_finder()(method)
            kind = definition.kind
            if kind not in _STREAMED[verb]:
                raise TypeError(f"{definition.full_name} {_VERBS[kind]}")
            method = definition.function
        route = self._streams.get((method, codec, kind))
        if route is None:
            with ShownAtProgram(hides_block=True):
                if isinstance(method, str):
                    route = self._named_route(method, codec, kind, self._protocol, self._payload)
                else:
                    route = self._route(definition, codec, self._protocol, self._payload)
            self._streams[method, codec, kind] = route
        return route

    def _route(
        self, definition: "MethodDefinition", codec: str, protocol: str, payload: PayloadForm
    ) -> MethodRoute:
        from fastrpc.rpc.aliases import go_name
        from fastrpc.rpc.marshals import codec_for, marshal_for

        depth = self._limits.depth
        names, sent_as = definition.service_names, None
        if payload == "message":
            from fastrpc.rpc.protobuf.marshals import message_marshal

            # Methods of bytes or of the user's protobuf messages have only one form of payload.
            as_json = codec == "json" and codec_for(definition, codec) == codec
            marshal = message_marshal(definition, depth=depth, items=_ITEMS, as_json=as_json)
            sent_as = f"{names.grpc_service}.{names.grpc_method(definition.name)}"
        else:
            name = codec_for(definition, codec)
            by_value = payload == "value" and name in _VALUE_CODECS
            marshal = marshal_for(definition, name, depth=depth, items=_ITEMS, by_value=by_value)
            if payload == "value" and names.rpcx == "go":
                sent_as = f"{go_name(definition.service)}.{go_name(definition.name)}"
        make = partial(self._route, definition, codec)
        return self._made(definition, marshal, protocol, make, sent_as)

    def _named_route(
        self, method: str, codec: str, kind: "Kind", protocol: str, payload: PayloadForm
    ) -> MethodRoute:
        depth = self._limits.depth
        if payload == "message":
            from fastrpc.rpc.protobuf.marshals import named_message_marshal

            marshal = named_message_marshal(method, codec, depth=depth, items=_ITEMS)
        else:
            from fastrpc.rpc.marshals import untyped_marshal

            by_value = payload == "value" and codec in _VALUE_CODECS
            marshal = untyped_marshal(codec, method, depth=depth, items=_ITEMS, by_value=by_value)
        make = partial(self._named_route, method, codec, kind)
        return self._made(_NamedMethod(method, kind), marshal, protocol, make)

    def _made(
        self,
        definition: Any,
        marshal: Any,
        protocol: str,
        make: Callable[[str, PayloadForm], MethodRoute],
        sent_as: str | None = None,
    ) -> MethodRoute:
        if definition.kind != "unary" and not self._has_streams:
            raise ConfigError(
                f"{definition.full_name} streams, and {protocol} has no streams",
                hint="call it by the native protocol",
            )
        counters = default_registry.counters(definition.full_name, "client", protocol)
        route = MethodRoute(definition, marshal, counters, totals=self._totals, sent_as=sent_as)
        route.set_protocol(protocol, partial(self._form, make) if self._has_forms else None)
        return route

    def _form(self, make: Callable[[str, PayloadForm], MethodRoute], protocol: str) -> MethodRoute:
        """Return the route of a method for connections of another protocol."""
        return make(protocol, _payload_of(client_protocol(protocol).traits))


def _payload_of(traits: ClientTraits) -> PayloadForm:
    if traits.takes_messages:
        return "message"
    return "value" if traits.takes_values else "arguments"


class _NamedMethod:
    """A method of which only the name is known, and the kind that the verb implies."""

    style = "async"
    idempotent = False
    public = False
    roles: frozenset[str] = frozenset()
    timeout = None
    #: True, because the type of the result is unknown.
    admits_none = True

    def __init__(self, full_name: str, kind: "Kind") -> None:
        from fastrpc.rpc.service import check_name_length

        # The name of a bare function of Phobos begins with the dot, without a service.
        _, dot, name = full_name.rpartition(".")
        if not dot or not name or not full_name.isascii():
            raise ConfigError(f"{full_name!r} is not a method name", hint="write it as service.method")
        check_name_length(full_name)
        self.full_name = full_name
        self.kind = kind
