"""What calls from a loop need, whoever makes them: a client, or a server that calls its clients.

It knows connections only as compiled sessions, and nothing of `client/` and `server/`.
"""
