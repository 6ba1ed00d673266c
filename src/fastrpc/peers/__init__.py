"""Calls from a loop, by a client or by a server that calls its clients.

It knows connections only as compiled engines, and uses nothing of `client/` and `server/`.
"""
