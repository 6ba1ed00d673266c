"""Services and callers whose code grpcio-tools generated, on our servers and clients.

    described    `service`, a source of a server by a descriptor;  handlers: `Handlers`, by `add_…Servicer_to_server`
    stubs        `stub`, calls by a descriptor with either client
    aio          grpc.aio with our server and channels;  blocking_server, blocking_channel: those for threads

    names        names of methods and statuses, there and here;  metadata: pairs of keys and values
    definitions  the definitions of generated services, for both sides
    contexts     the context of a servicer;  serving: runs servicers;  thread_handlers: those in threads
    threaded_calls  what methods of channels for threads return
    faults       statuses and texts for faults;  message_limits: of single messages
    instrumentation  the warning of functions of grpcio that tracing wraps
    options      of channels and servers;  service_config, targets: of channels;  ports: of servers

No module imports grpcio or protobuf before a program uses a part that needs it; generated code imports both.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastrpc.first_use import names_on_first_use
from fastrpc.types.any_message import AnyMessage

__all__ = [
    "AnyMessage",
    "Handlers",
    "aio",
    "insecure_channel",
    "proto",
    "secure_channel",
    "server",
    "service",
    "stub",
]

if TYPE_CHECKING:
    from fastrpc.grpc import aio as aio
    from fastrpc.grpc.blocking_channel import insecure_channel, secure_channel
    from fastrpc.grpc.blocking_server import server
    from fastrpc.grpc.described import service
    from fastrpc.grpc.handlers import Handlers
    from fastrpc.grpc.stubs import stub
    from fastrpc.rpc.protobuf.declared import proto
else:  # Type checkers would accept any attribute name.
    _named = names_on_first_use(
        __name__,
        {
            "blocking_channel": "insecure_channel secure_channel",
            "blocking_server": "server",
            "described": "service",
            "handlers": "Handlers",
            "stubs": "stub",
        },
    )

    def __getattr__(name: str) -> Any:
        """Import a name, or the module `aio`, on first access."""
        if name == "proto":
            return import_module("fastrpc.rpc.protobuf.declared").proto
        return import_module(f"{__name__}.aio") if name == "aio" else _named(name)
