from typing import final

@final
class DeficitRing:
    """The ids of a connection that wait for their turn to send."""
