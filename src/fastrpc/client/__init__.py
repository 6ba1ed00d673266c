"""The calling side: clients, their connections, and the handling of failed attempts.

It may import every layer below it, and nothing of `server/`.
"""
