"""The base of applications in Python that answer requests by HTTP/1.1."""
