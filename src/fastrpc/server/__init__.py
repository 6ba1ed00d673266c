"""The serving side: listeners, the way from a request to its handler, threads for handlers that block.

Knows every part below it; knows nothing of clients.
"""
