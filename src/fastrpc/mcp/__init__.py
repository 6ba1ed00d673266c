"""Methods as tools of language models: the Model Context Protocol, without I/O.

This package knows definitions and messages. The HTTP gateway passes requests to it, and makes the calls that the
requests ask for.
"""
