"""What a registry is, and everything that all of them share.

    registry    the interface: `register` and `watch`
    urls        opens a registry by its URL; the table of those there are
    backend     what is written for one kind of registry
    backed      the registry object over any backend: its threads
    feed        asks again and again;  rules: when a list is believed;  cache: the list of the last run
    keeper      keeps endpoints registered
    watch       hands lists to loops and threads;  snapshot: what it hands out
    closing     `with` for registries and watches
    record      what is kept of an endpoint;  policy: which addresses may be dialled

To add a registry: write a `Backend` in a file beside this folder, a function that opens it from a `RegistryURL`, and
name that in `urls`. A package of its own registers the function as an entry point of the group `fastrpc.registries`,
named after the scheme.

A registry is asked in threads of its own: all clients of registries worth having block, and a client without a loop
needs lists as well. So a backend is blocking code with neither retries nor memory; `backed` has one thread for each
service that is watched and one for all leases, and a `Watch` is iterated with `async for`, waited for with `wait()`,
looked at with `latest`.
"""
