"""Methods as tools of language models: the Model Context Protocol, without input or output.

It knows definitions and messages; the HTTP gateway brings it requests, and makes the calls that it asks for.
"""
