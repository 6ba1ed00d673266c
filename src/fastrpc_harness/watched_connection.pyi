from typing import final

from fastrpc._core.calls.call import Call
from fastrpc._core.native.connection import Connection
from fastrpc.config import Keepalive, Timeouts

@final
class WatchedConnection(Connection):
    """A connection without a stream whose liveness is asked by hand; what that tells is kept.

    Args:
        timeouts, keepalive: the rules.
        send_hard: bytes held above which a slow reader has less time; 0: none.
        answers_prove: whether what lies below speaks rpcx.
    """

    #: Bytes that the stream took in all, and bytes that it holds.
    taken: int
    held: int
    #: Whether the process has no memory to lend; whether received bytes wait for their turn.
    is_short: bool
    is_put_off: bool

    def __init__(
        self,
        *,
        timeouts: Timeouts,
        keepalive: Keepalive,
        is_client: bool = True,
        send_hard: int = 0,
        answers_prove: bool = False,
    ) -> None: ...
    @property
    def events(self) -> list[tuple[object, ...]]:
        """Events of its liveness: the name of the hook first."""

    def close_now(self) -> None: ...
    def check_at(self, now: int) -> int:
        """Let an instant be; return the one to check at next, 0: never."""

    def receive_at(self, data: bytes, now: int) -> int:
        """Take bytes that came at an instant; return how many were consumed."""

    def take(self) -> bytes:
        """Return the output."""

    def request(self, method: bytes) -> Call:
        """Open a call."""

    def begin_drain_at(self, now: int) -> int:
        """Take no new calls; return when FINAL follows at the latest."""

    def linger_until(self, instant: int) -> None:
        """Wait for the peer to close, until an instant."""

    def forgive(self, late: int) -> None:
        """Give the peer back the time in which its input was not read."""

    def forget_silence(self, now: int) -> None:
        """Let silence count from an instant on."""
