from typing import final

@final
class ReceiveTail:
    """Received bytes of one connection that are not handled yet."""
