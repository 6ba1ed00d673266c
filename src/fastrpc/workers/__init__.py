"""Programs that serve: `serve`, worker processes and their supervisor.

    serve           serves until a signal arrives: in one process (`process`; `init` as process 1) or under a supervisor
    app, plan       the arguments of `serve`: `App` bundles services with their settings
    log_fallback    logs if the program does not;  systemd: notifies the service manager
    supervisor      starts, restarts and ends processes: `crew` forks them, `listeners` has their sockets
    restarts        starts processes again;  roll: replaces workers that serve;  watchdog: kills hung workers
    acceptor        accepts connections for the workers;  spread: chooses the worker of a connection
    worker_record   the supervisor's record of a process;  worker_channel: their messages
    worker_process  one worker;  announcer: registers all of them;  reloader: `fastrpc dev`
    monitoring/     the processes' shared memory and admin pages
    takeover/       replaces a running program by another one

This package may import `server/` and all lower-ranked packages, but not `client/`.
"""
