"""The built-in services of a server.

`fastrpc.reflection` lists services and methods, `fastrpc.health` reports whether they serve.
"""

from collections.abc import Callable, Iterable
from typing import Any

from fastrpc._core.calls.call import current_call
from fastrpc.endpoint import Address
from fastrpc.errors import CallError
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.description import describe
from fastrpc.rpc.service import BUILTIN_PREFIX, method, service
from fastrpc.status import Status

__all__ = ["BUILTIN_PREFIX", "Health", "Reflection", "is_local"]


@service("fastrpc.reflection")
class Reflection:
    """List the services of a server to callers whom `ServerConfig.reflection` admits."""

    def __init__(self, services: Callable[[], Iterable[ServiceDefinition]]) -> None:
        self._services = services

    @method(idempotent=True)
    async def services(self) -> list[dict[str, Any]]:
        """Return every service: name, version, documentation, and its methods with their signatures."""
        exchange: Any = getattr(current_call(), "exchange", None)
        if exchange is not None and not exchange.reveals_services:
            # The text for any unknown name: a caller without access cannot tell that reflection exists.
            raise CallError(Status.UNIMPLEMENTED, "no method 'fastrpc.reflection.services' here")
        return [describe(definition) for definition in self._services()]


@service("fastrpc.health")
class Health:
    """Report whether a server or one of its services serves, in the words of gRPC's health protocol."""

    def __init__(self, status: Callable[[str], str]) -> None:
        self._status = status

    @method(idempotent=True)
    async def check(self, service: str = "") -> str:
        """Return SERVING, NOT_SERVING or SERVICE_UNKNOWN; an empty name asks for the whole server."""
        exchange: Any = getattr(current_call(), "exchange", None)
        if exchange is not None:
            exchange.note_probe()
        return self._status(service)


def is_local(address: Address) -> bool:
    """Return whether only programs on this machine can connect to an address."""
    if address.scheme in {"unix", "memory"} or address.host == "localhost":
        return True
    # Imported here: it takes a millisecond, and only servers on numeric addresses need it.
    import ipaddress

    try:
        return ipaddress.ip_address(address.host.partition("%")[0]).is_loopback
    except ValueError:
        return False
