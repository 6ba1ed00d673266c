"""Remote methods, declared by a class that client and server share.

    service         `@service`;  marking: `@method`;  functions: `@function`;  method_options: the options, checked
    claiming        the functions of a class as its methods
    definition      a method, a service;  signature: parsed from a function;  contract: implemented by a class
    aliases         other names, which `RouteTable` of the core finds
    faults          statuses and texts of errors in a method
    marshals        creates the marshal of a method from its types
    schema/         the types in payloads: read, described, and prepared for encoders and decoders
    go/             names of Go in the payloads of rpcx
    protobuf/       messages of protobuf, whose schema comes from the types
    description     services as plain data;  described_services: the checked description of a server
    wire_numbers    codecs and compressors as a connection announces them
    options, reply, scope, identity, token, interceptor     data and functions that accompany a call
    refused_arguments  messages for arguments that a function does not have

Depends on codecs and the core's marshal, not on connections, clients or servers.
"""
