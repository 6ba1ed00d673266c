class HandlerContexts:
    """The reusable contexts for the handlers of one server."""
