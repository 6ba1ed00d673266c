"""The console: all servers of a registry, read from their admin pages and shown as views.

    allowed   which admin addresses are read
    reading   asks one server for its admin pages, bounded in bytes and time
    pages     the shapes of these pages
    fleet     services, endpoints and servers: watches the registry and polls the servers;  servers: one of them
    kept      the memory of a server's figures;  budget: the memory of all servers together
    history   one hour of figures, in arrays
    events    the last events of the fleet
    blocks    views as data, in seven kinds of blocks
    views/    the views by name, one file each
    acts      asks servers for acts, with the token of the operator who calls
    service   `fastrpc.console` and `fastrpc.console.detail`, which give views to callers; `fastrpc.console.act`

May import finished clients, servers and the gateway, and nothing that prints or loads typer: `cli` has the options of
`fastrpc console`.
"""
