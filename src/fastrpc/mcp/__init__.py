"""Methods as tools of language models: the Model Context Protocol, without input or output.

It knows definitions and messages; the HTTP gateway passes requests to it, and makes the calls that it asks for.
"""
