class HandlerContexts:
    """Contexts for the handlers of one server, one after the other."""
