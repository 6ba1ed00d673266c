from typing import final

@final
class PageTurns:
    """The turns of requests whose bytes wait on one connection."""
