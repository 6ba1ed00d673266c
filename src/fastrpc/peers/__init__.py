"""Calls from an event loop: by a client, or by a server that calls its clients.

This package uses connections only as compiled engines, and does not depend on `client/` or `server/`.
"""
