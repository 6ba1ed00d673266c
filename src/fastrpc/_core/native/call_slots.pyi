from typing import Final, final

#: `ClientConfig.early_calls` as the core knows it.
EARLY_CALLS: Final[dict[str, int]]

@final
class CallSlots:
    """Calls of ours, a part of a connection: their slots at the peer, their ids, what is taken back."""

    #: The id of the next call of ours.
    next_id: int
