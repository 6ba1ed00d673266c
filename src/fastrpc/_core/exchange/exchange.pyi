class Exchange:
    """One request, and its response."""

class HttpApplication:
    """The code that answers the requests of connections."""
