"""ASGI: our services in other servers, and ASGI applications in our servers.

    application    `fastrpc.asgi`: settings, lifespan, scopes
    application_requests, application_answers    a request as HTTP/1.1, its answer as events
    application_sockets    messages of a WebSocket as frames
    application_transport    between these and the engine of the gateway

    mounts    the applications of `HTTP.mounts`: their paths, their requests, their start and their end
    mounts_lifespan    the lifespan of one of them;  mounts_scope: the scope of a request

It is imported on first use.
"""
