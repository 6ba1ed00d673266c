from fastrpc._core.server.link import Link

def idle_work(link: Link) -> int:
    """Return how much of the budget is left, as it was when the client last used it."""
