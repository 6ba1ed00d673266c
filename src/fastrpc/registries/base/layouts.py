"""Endpoints as keys of a store, in fastrpc's layout or in the layout of Go's rpcx."""

from typing import Protocol

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.backend import Entry
from fastrpc.registries.base.record import RecordError, decode_record, encode_record
from fastrpc.registries.base.rpcx_record import KEY_CHARACTERS, RpcxRecord, base_path, read_rpcx_record

__all__ = ["FastrpcLayout", "Layout", "RpcxLayout"]


class Layout(Protocol):
    """Maps endpoints to keys. A key is `prefix`, the name of a service, a slash, and the name of an endpoint."""

    prefix: str

    def record(self, endpoint: Endpoint, *, is_leaving: bool = False) -> tuple[str, bytes]:
        """Return the name and the value of an endpoint's key."""

    def read(self, name: str, value: bytes) -> Entry | None:
        """Parse a record; return None to ignore it."""


class FastrpcLayout:
    """`<base>/services/<service>/<scheme>@<host>:<port>` with a JSON record."""

    def __init__(self, base: str) -> None:
        self.prefix = f"{base_path(base)}/services/"

    def record(self, endpoint: Endpoint, *, is_leaving: bool = False) -> tuple[str, bytes]:
        return str(endpoint.address).replace("://", "@", 1), encode_record(endpoint)

    def read(self, name: str, value: bytes) -> Entry:
        try:
            return name, decode_record(value)
        except RecordError as error:
            return name[:KEY_CHARACTERS], error


class RpcxLayout:
    """The layout of rpcx. The key of a service itself is permanent, and its value is the service's name."""

    def __init__(self, base: str) -> None:
        self.prefix = f"{base_path(base)}/"

    def record(self, endpoint: Endpoint, *, is_leaving: bool = False) -> tuple[str, bytes]:
        record = RpcxRecord(endpoint)
        return record.key, record.value(is_inactive=is_leaving)

    def read(self, name: str, value: bytes) -> Entry | None:
        return read_rpcx_record(name, value)
