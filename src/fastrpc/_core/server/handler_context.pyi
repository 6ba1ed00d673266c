from typing import final

class HandlerContexts:
    """The reusable contexts for the handlers of one server."""

@final
class SharedContext:
    """A copy of the current context for several calls that wait."""
