"""`fastrpc gateway`: the services of a registry, or of a server of gRPC, by HTTP.

command     the command itself;  catalogue: the services that it serves;  places: the registry, or that server
forwarding  passes calls on;  forwarded_types: their types as reflection describes them
describing  the OpenAPI document, as options tell it
grpc_methods  methods as descriptors tell them
"""
