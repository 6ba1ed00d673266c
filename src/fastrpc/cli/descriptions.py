"""What a server says of its services, checked: it may be no friend."""

from typing import Any

import msgspec

from fastrpc.errors import DecodeError, FastRPCError

__all__ = ["ASK_SECONDS", "SERVICES_METHOD", "ServiceDescription", "parameter_types", "read_descriptions"]

SERVICES_METHOD = "fastrpc.reflection.services"

#: How long a server may take to say whether it tells signatures.
ASK_SECONDS = 1.0


class ParameterDescription(msgspec.Struct):
    """A parameter; its type as a program would write it."""

    name: str
    type: str


class MethodDescription(msgspec.Struct):
    """A method, in words for people."""

    full_name: str
    signature: str
    documentation: str
    parameters: list[ParameterDescription]


class ServiceDescription(msgspec.Struct):
    """A service with its methods."""

    name: str
    version: str | None
    documentation: str
    methods: list[MethodDescription]


def read_descriptions(value: Any, source: str) -> list[ServiceDescription]:
    """Read what `fastrpc.reflection.services` returned.

    Raises:
        DecodeError: it does not have that form.
    """
    try:
        return msgspec.convert(value, list[ServiceDescription], strict=True)
    except msgspec.ValidationError as error:
        raise DecodeError(f"{source} does not describe its services as fastrpc does: {error}") from None


async def parameter_types(view: Any, method: str) -> dict[str, str]:
    """Ask a server for the parameters of a method, in their order; empty where it does not tell."""
    try:
        asked = view.with_options(timeout=ASK_SECONDS, idempotent=True, codec="msgpack", metadata=None)
        services = read_descriptions(await asked.call(SERVICES_METHOD), "the server")
    except FastRPCError:
        return {}  # The call itself shows what is wrong.
    for service in services:
        for one in service.methods:
            if one.full_name == method:
                return {parameter.name: parameter.type for parameter in one.parameters}
    return {}
