"""Services and callers whose code grpcio-tools generated, on our servers and clients.

    described    `service`, a source of a server by a descriptor;  handlers: `Handlers`, by `add_…Servicer_to_server`
    stubs        `stub`, calls by a descriptor with either client

    names        names of methods and statuses, there and here;  metadata: pairs of keys and values
    definitions  the definitions of generated services, for both sides
    contexts     the context of a servicer;  serving: runs servicers;  thread_handlers: those in threads

No module imports grpcio or protobuf before a program uses a part that needs it; generated code imports both.
"""

from typing import TYPE_CHECKING

from fastrpc.first_use import names_on_first_use
from fastrpc.types.any_message import AnyMessage

__all__ = ["AnyMessage", "Handlers", "service", "stub"]

if TYPE_CHECKING:
    from fastrpc.grpc.described import service
    from fastrpc.grpc.handlers import Handlers
    from fastrpc.grpc.stubs import stub
else:  # Type checkers would accept any attribute name.
    __getattr__ = names_on_first_use(
        __name__, {"handlers": "Handlers", "described": "service", "stubs": "stub"}
    )
