from typing import final

@final
class Outgoing:
    """A message on its way out that could not be written at once."""

@final
class DeficitRing:
    """The ids of a connection that wait for their turn to send."""
