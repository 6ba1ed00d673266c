from typing import final

@final
class Outgoing:
    """A message on its way out that could not be written at once."""
