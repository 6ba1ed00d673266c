"""A WebSocket of a mounted application, as events of ASGI."""
