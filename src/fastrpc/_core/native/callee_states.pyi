from typing import final

@final
class CalleeStates:
    """What a connection knows of calls of theirs, a part of it: the callee's half of the state tables."""

    @property
    def highest_id(self) -> int:
        """The highest call id of the peer that was not discarded."""

    @property
    def last_taken(self) -> int:
        """The last call of theirs that is taken, once we said so."""

    @property
    def one_way_calls(self) -> int: ...
    @property
    def streams(self) -> int: ...
    @property
    def dropped_one_way(self) -> int: ...
    @property
    def open_requests(self) -> int:
        """Requests of theirs that came in pieces and are not whole yet."""
