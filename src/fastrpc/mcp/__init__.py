"""Methods as tools of language models: the Model Context Protocol, without I/O.

It knows definitions and messages; the HTTP gateway passes requests to it, and makes the calls that it asks for.
"""
