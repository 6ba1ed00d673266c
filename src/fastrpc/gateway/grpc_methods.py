"""Methods of a target server, from the descriptors of a gRPC server.

The arguments are the fields of the request, by the names that protobuf's JSON accepts: `itemName` and `item_name`.
Values have the form of that JSON; the descriptors check them here, as the server accepts only messages.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from keyword import iskeyword
from typing import Any, Final

from fastrpc.errors import CallError, ConfigError
from fastrpc.gateway.forwarding import ForwardedMethod, ForwardedParameter
from fastrpc.gateway.grpc_servers.described import is_repeated
from fastrpc.gateway.grpc_servers.details import shown_details
from fastrpc.gateway.grpc_servers.methods import GrpcMethod
from fastrpc.gateway.grpc_servers.reflection import ServerDescriptors
from fastrpc.status import Status

__all__ = ["described_by_grpc", "described_method"]

#: Values of google.protobuf.MethodOptions.IdempotencyLevel.
_SAFE: Final = 1
_IDEMPOTENT: Final = 2

#: The name of a parameter that is a whole request as JSON (_WHOLE), and of a parameter that is a stream (_STREAM).
_WHOLE: Final = "value"
_STREAM: Final = "messages"

#: The most field names that are Python keywords and stay accepted as old names of parameters: a method has at most this
#: many old names.
_MOST_RENAMED: Final = 4

#: Types by google.protobuf.FieldDescriptorProto.Type; numbers may be text in JSON, and enums their names.
_TYPES: Final[Mapping[int, Any]] = {
    **dict.fromkeys((1, 2), float | str | None),
    8: bool | None,
    **dict.fromkeys((9, 12), str | None),
    **dict.fromkeys((3, 4, 5, 6, 7, 13, 14, 15, 16, 17, 18), int | str | None),
}


async def described_by_grpc(view: Any, name: str) -> list[ForwardedMethod]:
    """Return the methods of a service, by the reflection of its server.

    Args:
        view: a client of the service.
        name: the name as in a registry, where fastrpc servers register `shop.v1.order_items` for `shop.v1.OrderItems`.

    Raises:
        CallError: the server has no such service, or no reflection.
        DecodeError: the server's descriptors are malformed.
    """
    found = ServerDescriptors(view, name)
    listed = await found.services()
    same = [one for one in listed if _plain(one) == _plain(name)]
    service = await found.service(name if name in listed or len(same) != 1 else same[0])
    return [described_method(one, found.pool) for one in service.methods]


def _plain(name: str) -> str:
    """Return a name in the form for comparisons, without marks between its words."""
    return re.sub("[_-]", "", name).lower()


def described_method(descriptor: Any, pool: Any) -> ForwardedMethod:
    """Return a method by its descriptor."""
    method = GrpcMethod(descriptor, pool)
    parameters, names = ([], {}) if method.takes_stream else _parameters(method)
    level = descriptor.GetOptions().idempotency_level
    renamed = {given: name for name, given in names.items() if name != given}
    return ForwardedMethod(
        name=descriptor.name,
        parameters=parameters,
        result=Any,
        kind=method.kind,
        stream=(_STREAM, Any, 0) if method.takes_stream else None,
        options={
            "idempotent": level in {_SAFE, _IDEMPOTENT},
            "safe": level == _SAFE and not method.takes_stream,
            "renamed": dict(list(renamed.items())[:_MOST_RENAMED]) or None,
        },
        behind=_AsMessage(method, names),
    )


def _parameters(method: GrpcMethod) -> tuple[list[ForwardedParameter], dict[str, str]]:
    """Return the parameters of a request, and the name of a field for each."""
    if method.request.is_whole(None):
        return [ForwardedParameter(_WHOLE, Any, by_position=False)], {}
    names: dict[str, str] = {}
    found = []
    for field in method.request.fields.values():
        for name in dict.fromkeys((field.json_name, field.name)):
            # A parameter cannot be named by a Python keyword.
            own = f"{name}_" if iskeyword(name) or name == "self" else name
            names[own] = name
            kind = Any if is_repeated(field) else _TYPES.get(field.type, Any)
            found.append(ForwardedParameter(own, kind, None, by_position=False))
    return found, names


class _AsMessage:
    """Calls a method with its arguments as one message, or as the messages of a stream."""

    def __init__(self, method: GrpcMethod, names: Mapping[str, str]) -> None:
        self.method = method
        self.target = method.target
        self._names = names

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
        """Return the message of the arguments; CallError if they do not fit."""
        if self.method.takes_stream:
            return [self._messages(args[0] if args else kwargs[_STREAM])]
        if self.method.request.is_whole(None):
            return [self._encoded(kwargs[_WHOLE])]
        return [self._encoded({self._names[name]: value for name, value in kwargs.items()})]

    def details(self, details: Any) -> Any:
        """Return the details of an error as values."""
        return shown_details(details, self.method.pool)

    async def _messages(self, messages: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        async for message in messages:
            yield self._encoded(message)

    def _encoded(self, values: Any) -> bytes:
        try:
            return self.method.request.encoded(values)
        except ConfigError as error:
            raise CallError(Status.INVALID_ARGUMENT, error.message) from None
