from typing import Any

class ServingPart:
    """What a connection does with calls of theirs."""

class CallingPart:
    """What a connection does with calls of ours."""

    @property
    def endpoint(self) -> Any:
        """What errors call the other side."""
