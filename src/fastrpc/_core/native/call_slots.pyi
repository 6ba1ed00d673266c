from typing import Final, final

#: `ClientConfig.early_calls` as the core knows it.
EARLY_CALLS: Final[dict[str, int]]

@final
class CallSlots:
    """Our calls, a part of a connection: their slots at the peer, their ids, and the given-up calls."""

    #: The id of our next call.
    next_id: int
