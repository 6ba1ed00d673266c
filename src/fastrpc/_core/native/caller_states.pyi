from typing import final

from fastrpc._core.native.hooks import CallerHooks

@final
class CallerStates(CallerHooks):
    """Our calls, a part of a connection: the caller's half of the state tables."""

    @property
    def open_responses(self) -> int:
        """The number of answers that came in pieces and are incomplete."""
