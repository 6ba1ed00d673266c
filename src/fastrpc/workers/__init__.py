"""Programs that serve: `serve`, worker processes and their supervisor.

    serve           serves until a signal arrives: in one process (`process`; `init` as process 1) or under a supervisor
    app, plan       the arguments of `serve`: `App` bundles services with their settings
    log_fallback    logs where the program does not;  systemd: tells the service manager
    supervisor      starts, feeds, restarts and ends processes: `crew` forks them, `listeners` has their sockets
    restarts        starts processes again;  roll: replaces workers that serve;  watchdog: kills hung workers
    acceptor        accepts connections for the workers;  spread: chooses the worker of a connection
    worker_record   the supervisor's record of a process;  worker_channel: their messages
    worker_process  one worker;  announcer: registers all of them;  reloader: `fastrpc dev`
    monitoring/     the memory that they share, and their admin pages
    takeover/       one program takes the place of another

It may import `server/` and every layer below it, and nothing of `client/`.
"""
