class StreamHandler:
    """The user of an HTTP/2 connection, a client's or a server's side, as the connection sees it."""
