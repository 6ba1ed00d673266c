from typing import final

@final
class CallerStates:
    """Our calls, a part of a connection: the caller's half of the state tables."""

    @property
    def open_responses(self) -> int:
        """The number of answers that came in pieces and are incomplete."""
