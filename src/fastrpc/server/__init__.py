"""The serving side: listeners, the path from a request to its handler, threads for blocking handlers.

It may import every layer below it, and nothing of `client/`.
"""
