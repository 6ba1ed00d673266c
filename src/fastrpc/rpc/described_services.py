"""Parse and check a server's description of its services. The server may be hostile."""

from typing import Any

import msgspec

from fastrpc.errors import DecodeError

__all__ = [
    "SERVICES_METHOD",
    "ClassDescription",
    "FieldDescription",
    "MethodDescription",
    "ParameterDescription",
    "ServiceDescription",
    "StreamDescription",
    "read_descriptions",
]

SERVICES_METHOD = "fastrpc.reflection.services"


class ParameterDescription(msgspec.Struct):
    """A parameter that is sent as an argument."""

    name: str
    type: str
    required: bool
    default: str | None = None
    by_position: bool = True
    by_name: bool = True
    #: The type with its constraints; "" if it has none.
    full_type: str = ""

    @property
    def exact(self) -> str:
        """The type with its constraints."""
        return self.full_type or self.type


class StreamDescription(msgspec.Struct):
    """The parameter for the caller's stream: the type of one message, and the position among all parameters."""

    name: str
    type: str
    position: int
    full_type: str = ""
    #: True if the parameter may be an uploaded file of a form.
    upload: bool = False

    @property
    def exact(self) -> str:
        """The type with its constraints."""
        return self.full_type or self.type


class MethodDescription(msgspec.Struct):
    """A remote method. `signature` is for people to read."""

    name: str
    full_name: str
    signature: str
    documentation: str
    kind: str
    parameters: list[ParameterDescription]
    result: str
    attribute: str = ""
    stream: StreamDescription | None = None
    renamed: dict[str, str] = {}
    idempotent: bool = False
    safe: bool = False
    tool: bool = False
    http: str | None = None
    timeout: float | None = None
    codec: str | None = None
    #: Other names as given in the program, without the service's name.
    alias: list[str] = []
    #: All full names except the canonical one.
    aliases: list[str] = []
    full_result: str = ""

    @property
    def exact_result(self) -> str:
        """The type of the result with its constraints."""
        return self.full_result or self.result


class FieldDescription(msgspec.Struct):
    """A field of a class; `default` is None if the field has no default."""

    name: str
    type: str
    required: bool
    default: str | None = None
    wire_name: str = ""
    full_type: str = ""
    kw_only: bool = False

    @property
    def exact(self) -> str:
        """The type with its constraints."""
        return self.full_type or self.type


class ClassDescription(msgspec.Struct):
    """A class in payloads. Its kind is dataclass, struct, typed_dict, named_tuple, enum, protobuf, or opaque.

    An opaque class has its own encoding, which a description cannot express.
    """

    name: str
    kind: str
    fields: list[FieldDescription] = []
    values: dict[str, str | int] = {}
    options: dict[str, str | int | bool] = {}
    #: The type variables of a generic class, each with its default type.
    parameters: dict[str, str] = {}


class ServiceDescription(msgspec.Struct):
    """A service with its methods. Servers of earlier versions omit some fields."""

    name: str
    version: str | None
    documentation: str
    methods: list[MethodDescription]
    types: list[ClassDescription] = []
    #: `alias` has the other names that the program states, `aliases` all other names.
    alias: list[str] = []
    rpcx: str | None = None
    grpc: str | None = None
    aliases: list[str] = []


def read_descriptions(value: Any, source: str) -> list[ServiceDescription]:
    """Parse the result of `fastrpc.reflection.services`.

    Raises:
        DecodeError: the result is malformed.
    """
    try:
        return msgspec.convert(_with_types(value), list[ServiceDescription], strict=True)
    except msgspec.ValidationError as error:
        raise DecodeError(f"{source} does not describe its services as fastrpc does: {error}") from None


def _with_types(value: Any) -> Any:
    """Return a description in which `types` are lists: servers of earlier versions may send `{}` instead."""
    services = value if isinstance(value, list) else []
    if not any(isinstance(one, dict) and one.get("types") == {} for one in services):
        return value
    return [
        one | {"types": []} if isinstance(one, dict) and one.get("types") == {} else one for one in services
    ]
