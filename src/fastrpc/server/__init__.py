"""Servers: listeners and their connections, draining, registration.

    server          `Server`: its services, addresses, start and drain;  settings: checks of its settings
    parts           the objects that it consists of, and the process and the loop that it belongs to
    accepting       makes the session of a connection: proxies (`proxied`), TLS (`encryption`), protocol
    edges           judges addresses, before anything else of a connection
    detection       keeps a connection until its first bytes select a protocol
    listening       the addresses that it listens at;  inherited: the sockets that another program opened
    ending          its drain, and the close of all its parts
    connections     all connections together: their drain, their end, their state
    access          the rules of access, compared with the services;  health, builtin: the services of every server;
                    wakeup: wakes handlers that stream changes
    offer           the services: added, removed, healthy, registered;  removal: the running calls of a removed one
    registrar       the records in a registry;  advertising: their content
    http/, admin/   methods and fixed paths of the HTTP gateway; the admin pages

This package may import every package of a lower rank, above all `handlers/`, and nothing of `client/`. `workers/`
starts servers in processes.
"""
