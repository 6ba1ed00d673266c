"""Servers: listeners and their connections, draining, registration.

    server          `Server`: its services, addresses, start and drain;  settings: checks of its settings
    parts           the objects of which a server consists, and its process and loop
    accepting       creates the session of a connection: proxies (`proxied`), TLS (`encryption`), protocol
    edges           limits connections by address, before anything is read
    detection       selects the protocol of a connection by its first bytes
    listening       the addresses at which it listens;  inherited: the sockets that another program opened
    ending          drains a server, and closes all its parts
    connections     drains and closes all connections; reports their state
    access          authentication and authorisation;  health, builtin: the services of every server;
                    wakeup: wakes handlers that stream changes
    offer           adds, removes and registers services;  removal: ends the calls of a removed service
    registrar       the server's records in a registry;  advertising: their content
    http/, admin/   the HTTP gateway: methods and fixed paths;  the admin pages

This package may import every package of a lower rank, especially `handlers/`, but nothing of `client/`. `workers/` runs
servers in several processes.
"""
