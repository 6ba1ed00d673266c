"""The services of a registry, or of a server of gRPC, called for others: by a gateway, a console, and the commands.

    catalogue       the services that are served;  places: the registry, or that server
    forwarding      passes calls on;  forwarded_types: their types as reflection describes them
    grpc_methods    methods from descriptors;  grpc_servers/: asks gRPC servers for descriptors
    addresses       http:// and https:// for the addresses of a server
    contract_files  contracts read from files of Python
    dialing         the credentials that are shown to servers and registries

This package may import clients, servers and workers, and nothing that prints or loads typer: `cli` has the options of
`fastrpc gateway` and its report.
"""
