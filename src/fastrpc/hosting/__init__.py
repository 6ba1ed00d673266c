"""ASGI: services of ours in servers of others.

    application    `fastrpc.asgi`: settings, lifespan, scopes
    application_requests, application_answers    a request as HTTP/1.1, its answer as events
    application_sockets    messages of a WebSocket as frames
    application_transport    between these and the engine of the gateway

It is imported on first use.
"""
