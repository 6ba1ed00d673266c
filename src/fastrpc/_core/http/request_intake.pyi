from typing import final

class BodyReading:
    """How a body that comes in parts is read."""

@final
class RequestIntake:
    """The requests of one exchange, on their way into the gate."""
