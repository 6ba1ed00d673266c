"""Clients: their connections, and the handling of failed attempts.

It may import every layer below it, `calling/` above all, and nothing of `server/`.
"""
