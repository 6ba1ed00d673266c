"""The services of a registry, or of a server of gRPC, called for others: by a gateway, a console, and the commands.

    dialing         the credentials that are shown to servers and registries
    contract_files  contracts read from files of Python
    grpc_servers/   servers of gRPC, called by the descriptors that their reflection tells

It may import finished clients, servers and workers, and nothing that prints or loads typer: `cli` has the options of
`fastrpc gateway` and its report.
"""
