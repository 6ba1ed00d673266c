from typing import final

from fastrpc._core.native.hooks import CalleeHooks

@final
class CalleeStates(CalleeHooks):
    """The peer's calls, a part of a connection: the callee's half of the state tables."""

    @property
    def highest_id(self) -> int:
        """The highest call id of the peer that was not discarded."""

    @property
    def last_taken(self) -> int:
        """The last call of the peer that is taken, once we announced it."""

    @property
    def one_way_calls(self) -> int: ...
    @property
    def streams(self) -> int: ...
    @property
    def dropped_one_way(self) -> int: ...
    @property
    def open_requests(self) -> int:
        """The number of the peer's requests that came in pieces and are incomplete."""
