from typing import Any

from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.wire.settings import WireSettings

class CallingPart:
    """The interface of a connection for outgoing calls."""

    @property
    def endpoint(self) -> Any:
        """The name of the other side in errors."""

    @property
    def peer(self) -> WireSettings:
        """The limits and numbers of the other side."""

    @property
    def is_settled(self) -> bool:
        """Whether the other side has announced its limits and numbers."""

    @property
    def protocol(self) -> str | None:
        """The name of its protocol."""

    @property
    def takes_values(self) -> bool:
        """Whether the payload of a call is one value, not an array of arguments."""

    @property
    def loop_state(self) -> LoopState | None:
        """The loop that watches the deadlines of calls; None where threads wait for them."""
