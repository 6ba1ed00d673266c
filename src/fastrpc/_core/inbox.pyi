from fastrpc._core.intake import Intake

class Inbox(Intake):
    """What a connection knows of calls, theirs and ours: the two state tables of PROTOCOL.md, "Calls"."""

    #: Bytes that messages larger than their stream's window may still borrow.
    stream_pool_left: int

    @property
    def one_way_calls(self) -> int: ...
    @property
    def streams(self) -> int: ...
    @property
    def open_requests(self) -> int:
        """Requests of theirs that came in pieces and are not whole yet."""

    @property
    def open_messages(self) -> int:
        """Unfinished messages the peer may have at a time."""

    @property
    def open_responses(self) -> int: ...
    @property
    def dropped_one_way(self) -> int: ...
