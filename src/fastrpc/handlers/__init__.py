"""The path of a served call, in a server or in a client that serves as well.

It contains the path from a request to its handler, threads for blocking handlers, and answers to errors. This package
does not depend on listeners, `client/` or `server/`.
"""
