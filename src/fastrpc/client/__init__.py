"""The calling side: a client, its connections, and what is done when an attempt fails.

Knows every part below it; knows nothing of servers.
"""
