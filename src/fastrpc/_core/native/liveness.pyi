from typing import final

@final
class Liveness:
    """The rules by which a connection lives and ends, a part of it: opening, writing, pieces, age, rest, pings."""

    #: Nanoseconds without a byte taken after which a slow reader is dropped.
    write_wait_ns: int
    #: Nanoseconds without a piece after which a cut message ends its call.
    piece_wait_ns: int
