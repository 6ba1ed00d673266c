"""Servers: listeners and their connections, draining, registration, worker processes.

    server          `Server`: its services, addresses, start and drain;  app, settings, plan: its arguments
    ownership       the process and the loop that it belongs to
    accepting       makes the session of a connection: proxies (`proxied`), TLS (`encryption`), protocol
    detection       keeps a connection until its first bytes select a protocol
    acceptor        accepts in one process, for others;  inherited: the sockets that another program opened
    connections     all connections together: their drain, their end, their state
    access          the rules of access, compared with the services;  health, builtin: the services of every server;
                    wakeup: wakes handlers that stream changes
    registrar       the records in a registry;  advertising: their content
    http/, admin/   methods and fixed paths of the HTTP gateway; the admin pages

    serve           serves until a signal arrives: in one process (`process`; `init` as process 1) or under a supervisor
    log_fallback    logs where the program does not;  systemd: tells the service manager
    supervisor      starts, feeds, restarts and ends processes: `crew` forks them, `listeners` has their sockets
    restarts        starts processes again;  roll: replaces workers that serve;  watchdog: kills those that hang
    spread          chooses the worker of a connection
    worker_record   the supervisor's record of a process;  worker_channel: their messages
    worker_process  one worker;  announcer: registers all of them;  monitor: their admin pages;  reloader: `fastrpc dev`
    scoreboard      the memory that they share: `reporter` writes it, `monitor` reads it, `counted` survives each
    takeover        takes the place of a program that serves;  control: that program's side;  control_channel: their
                    messages

It may import every layer below it, `serving/` above all, and nothing of `client/`.
"""
