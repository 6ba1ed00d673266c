"""Services that a server has of its own.

`fastrpc.reflection` says which services and methods there are, `fastrpc.health` whether they are to be called.
"""

from collections.abc import Callable, Iterable
from typing import Any

from fastrpc._core.calls.call import current_call
from fastrpc.endpoint import Address
from fastrpc.errors import CallError
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.description import describe
from fastrpc.rpc.service import method, service
from fastrpc.status import Status

__all__ = ["BUILTIN_PREFIX", "Health", "Reflection", "is_local"]

#: Names of services that begin with this are fastrpc's own.
BUILTIN_PREFIX = "fastrpc."


@service("fastrpc.reflection")
class Reflection:
    """Tells callers what a server serves, where `ServerConfig.reflection` allows it."""

    def __init__(self, services: Callable[[], Iterable[ServiceDefinition]]) -> None:
        self._services = services

    @method(idempotent=True)
    async def services(self) -> list[dict[str, Any]]:
        """Return every service: name, version, documentation, and its methods with their signatures."""
        exchange: Any = getattr(current_call(), "exchange", None)
        if exchange is not None and not exchange.reveals_services:
            # Worded as for any other unknown name: a stranger learns nothing, not even that it could be allowed.
            raise CallError(Status.UNIMPLEMENTED, "no method 'fastrpc.reflection.services' here")
        return [describe(definition) for definition in self._services()]


@service("fastrpc.health")
class Health:
    """Tells whether a server, or one of its services, is to be called, in the words of gRPC's health protocol."""

    def __init__(self, status: Callable[[str], str]) -> None:
        self._status = status

    @method(idempotent=True)
    async def check(self, service: str = "") -> str:
        """Return SERVING, NOT_SERVING or SERVICE_UNKNOWN; without a name for the server as a whole."""
        exchange: Any = getattr(current_call(), "exchange", None)
        if exchange is not None:
            exchange.note_probe()
        return self._status(service)


def is_local(address: Address) -> bool:
    """Whether only programs on this machine can connect to an address."""
    if address.scheme in {"unix", "memory"} or address.host == "localhost":
        return True
    # A millisecond that only servers on numeric addresses have to spend.
    import ipaddress

    try:
        return ipaddress.ip_address(address.host.partition("%")[0]).is_loopback
    except ValueError:
        return False
