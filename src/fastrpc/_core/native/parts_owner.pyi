from typing import Any

from fastrpc._core.base.timed import Timed
from fastrpc._core.framing.settings import Settings

class PartsOwner(Timed):
    """The state that the parts of a connection share, and the hooks they call."""

    #: The time, nanoseconds of a monotonic clock; whoever drives the connection sets it before each use.
    now: int

    @property
    def peer(self) -> Settings:
        """What the peer accepts; the floor until its SETTINGS came."""

    @property
    def ours(self) -> Settings:
        """What we announced last."""

    @property
    def exchange(self) -> Any:
        """What the gate knows of this connection; None on a side that serves nothing."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still under way, and stop its handler: UNAVAILABLE, for this reason."""

    @property
    def open_messages(self) -> int:
        """Unfinished messages of each kind that the peer may have at a time."""

    @property
    def is_client(self) -> bool: ...
    @property
    def peer_drains(self) -> bool:
        """Whether the peer takes no new calls on this connection."""

    @property
    def is_closed(self) -> bool: ...
