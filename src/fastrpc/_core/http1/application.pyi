class HttpApplication:
    """Answers the requests of connections."""
