"""`fastrpc.reflection`: the services and methods of a server, and who may see them."""

from collections.abc import Callable, Iterable
from typing import Any

from fastrpc._core.calls.call import current_call
from fastrpc.endpoint import Address
from fastrpc.errors import CallError
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.description import describe
from fastrpc.rpc.service import BUILTIN_PREFIX, method, service
from fastrpc.status import Status

__all__ = ["BUILTIN_PREFIX", "Reflection", "is_local"]


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
