from typing import final

@final
class Outgoing:
    """An outgoing message that could not be written immediately."""

@final
class DeficitRing:
    """The ids of a connection that wait for their turn to send."""
