from typing import final

@final
class Gathered:
    """Encoded messages that leave in one write."""
