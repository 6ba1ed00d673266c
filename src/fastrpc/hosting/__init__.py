"""ASGI: our services in other servers, and ASGI applications in our servers.

    application    `fastrpc.asgi`: settings, lifespan, scopes
    application_requests, application_answers    a request as HTTP/1.1, its answer as events
    application_sockets    messages of a WebSocket as frames
    application_transport    passes the bytes of the modules above to the engine of the gateway, and back

    mounts    the applications of `HTTP.mounts`: their paths, their requests, their start and their end
    mounts_lifespan    the lifespan of a mounted application;  mounts_scope: the scope of a request

This package is imported on first use.
"""
