from operator import attrgetter
from typing import Final, final

NOT_CONFIGURED: Final[bytes]
NO_LAST_ID: Final[int]
BY_ID: Final[attrgetter[int]]

@final
class ControlFrames:
    """The frames of the connection itself, a part of it: SETTINGS, PING, AUTH, GOAWAY."""

    @property
    def pings_sent(self) -> int: ...
