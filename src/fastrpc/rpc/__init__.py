"""Remote methods, the same on both sides: declared by a class, read once, marshalled often.

    service         `@service` and `@method`;  method_options: the options, checked;  claiming: which function is which
    definition      a method, a service;  signature, annotation: read off a function;  contract: kept by a class
    aliases         other names, which `RouteTable` of the core finds
    go_fields       names of Go in payloads of rpcx that come in;  go_twins: in those that go out
    schema          makes the marshal of a method of its types;  scans, defaults, conversion: what some types need, JSON
                    too: finite_numbers refuses NaN, wide_integers reads them as text;  narrow_floats: what goes out in
                    32 bits
    type_graph      the types in payloads;  description, type_description: as plain data;  json_schema: as JSON Schemas
    payload_classes their fields and options;  type_names, default_text: types and defaults as source
    text_values     values of parameters in URLs
    wire_numbers    codecs and compressors as a connection announces them
    options, reply, scope, identity, token, interceptor     what goes with a call
    refused_arguments  messages for arguments that a function does not have

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
