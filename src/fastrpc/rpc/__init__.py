"""Remote methods, the same on both sides: declared by a class, read once, marshalled often.

    service         `@service`;  marking: `@method`;  functions: `@function`;  method_options: the options, checked
    claiming        the functions of a class as its methods
    definition      a method, a service;  signature: read off a function;  contract: kept by a class
    aliases         other names, which `RouteTable` of the core finds
    faults          statuses and texts for what goes wrong in a method
    marshals        makes the marshal of a method of its types
    schema/         the types in payloads: read, described, and prepared for encoders and decoders
    go/             names of Go in the payloads of rpcx
    protobuf/       messages of protobuf, whose schema comes from the types
    description     services as plain data;  described_services: such data of a server, checked
    wire_numbers    codecs and compressors as a connection announces them
    options, reply, scope, identity, token, interceptor     what goes with a call
    refused_arguments  messages for arguments that a function does not have

Depends on codecs and the core's marshal, not on connections, clients or servers.
"""
