from fastrpc._core.native.message_assembler import MessageAssembler

class CallStates(MessageAssembler):
    """What a connection knows of calls, theirs and ours: the two state tables of PROTOCOL.md, "Calls"."""

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
