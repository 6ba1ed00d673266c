class Exchange:
    """One request, and its response."""

class HttpApplication:
    """Answers the requests of connections."""
