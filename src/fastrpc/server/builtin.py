"""`fastrpc.reflection`: the services and methods of a server, for callers that may see them."""

from collections.abc import Callable, Iterable
from typing import Any

from fastrpc._core.calls.call import current_call
from fastrpc.errors import CallError
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import BUILTIN_PREFIX, service
from fastrpc.status import Status

__all__ = ["BUILTIN_PREFIX", "Reflection", "check_reveals"]


@service("fastrpc.reflection")
class Reflection:
    """List the services of a server to callers that `ServerConfig.reflection` admits."""

    def __init__(
        self,
        services: Callable[[], Iterable[ServiceDefinition]],
        may_call: Callable[[MethodDefinition], bool] = lambda _: True,
    ) -> None:
        self._services = services
        self._may_call = may_call

    @method(idempotent=True)
    async def services(self) -> list[dict[str, Any]]:
        """Return every service: name, version, documentation, and the methods that the caller may call."""
        # Imported on first use, because many servers are never queried.
        from fastrpc.rpc.description import describe_services

        check_reveals("fastrpc.reflection.services")
        # Omit bare functions, which only Go callers can call. The types of methods that the caller may not call are
        # omitted too.
        return describe_services([one for one in self._services() if one.name], self._may_call)


def check_reveals(name: str) -> None:
    """Raise the error of an unknown method unless the connection of this call may see the services."""
    connection: Any = getattr(current_call(), "connection", None)
    if connection is not None and not connection.reveals_services:
        # The text is the same as for any unknown name, so that a caller without access cannot detect reflection.
        raise CallError(Status.UNIMPLEMENTED, f"no method {name!r} here")
