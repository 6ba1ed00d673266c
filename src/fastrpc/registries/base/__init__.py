"""The interface of registries, and the parts that all of them share.

    registry    the interface: `register` and `watch`
    urls        opens a registry by its URL; the table of schemes
    backend     the interface of one kind of registry
    backed      the registry object over any backend: its threads
    followers   the threads that follow services
    poller      polls for one service;  shared: follows many services by one lookup
    turns       polls for many services in turn;  names: polls for service names;  announced: reads announcements
    accepting   filters lists and publishes them;  rules: when a list is accepted;  cache: the list of the last run
    lease_keeper  keeps endpoints registered;  kept_record: one of its records;  held: a record in any registry
    watch       delivers lists to loops and threads;  snapshot: one delivered list
    changes     the differences of one list and the next;  events: differences for all services, and outages
    closing     `with` for registries and watches
    record      the stored form of an endpoint;  rpcx_record: the form of Go's rpcx;  decoded: decodes each once
    layouts     records as keys of a store;  policy: which addresses may be dialled
    secrets     tokens and passwords for registries

To add a registry: write a `Backend` in a file next to this folder and a function that opens it from a `RegistryURL`,
and name the function in `urls`. A separate package registers the function as an entry point of the group
`fastrpc.registries`, named after the scheme. The new registry has to pass the checks in
`fastrpc.testing.registry_contract`.

A registry is queried in separate threads: the client libraries of registries block, and a client without a loop needs
lists as well. So a backend is blocking code, has no retries and keeps no lists. `backed` has one thread for all leases.
If the backend has `open_shared`, one thread follows all watched services; otherwise the first 32 services have a thread
each, and up to eight threads query the others in turn. A `Watch` has `async for`, a blocking `wait()`, and `latest`.
"""
