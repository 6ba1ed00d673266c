"""Servers: listeners and their connections, draining, registration, worker processes.

It may import every layer below it, `serving/` above all, and nothing of `client/`.
"""
