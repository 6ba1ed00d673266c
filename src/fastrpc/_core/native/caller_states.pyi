from typing import final

@final
class CallerStates:
    """What a connection knows of calls of ours, a part of it: the caller's half of the state tables."""

    @property
    def open_responses(self) -> int:
        """Answers that came in pieces and are not whole yet."""
