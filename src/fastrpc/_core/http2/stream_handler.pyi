class StreamHandler:
    """One side of a connection of HTTP/2, as the connection knows it."""
