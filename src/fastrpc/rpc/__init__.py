"""Remote methods, the same on both sides: declared by a class, read once, marshalled often.

Depends on codecs and the core's marshal, not on connections, clients or servers.
"""

from fastrpc.rpc.definition import MethodDefinition, MethodTypes, ServiceDefinition
from fastrpc.rpc.description import describe, nearest_name
from fastrpc.rpc.method_options import MethodOptions
from fastrpc.rpc.service import method, method_definition, service, service_definition

__all__ = [
    "MethodDefinition",
    "MethodOptions",
    "MethodTypes",
    "ServiceDefinition",
    "describe",
    "method",
    "method_definition",
    "nearest_name",
    "service",
    "service_definition",
]
