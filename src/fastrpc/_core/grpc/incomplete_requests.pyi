from typing import final

@final
class IncompleteRequests:
    """The incomplete requests and messages of one connection."""
