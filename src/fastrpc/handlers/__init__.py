"""The path of a served call, in a server or in a client that serves as well.

The path from a request to its handler, threads for blocking handlers, and answers to errors. This package knows nothing
of listeners, of `client/` and of `server/`.
"""
