from typing import Any

from fastrpc._core.serving.admission import GuardedSession
from fastrpc._core.serving.served_call import ServerCall, ServerState
from fastrpc.rpc.peer import Peer

class ServerSession(GuardedSession):
    """One connection of one client.

    Args:
        options: those of `GuardedSession`.
    """

    def __init__(self, *, state: ServerState, **options: Any) -> None: ...
    @property
    def state(self) -> ServerState: ...
    def describe_peer(self) -> Peer:
        """Return who is on the other side."""

    def unpacked(self, call: ServerCall, payload: bytes, error: Exception | None) -> None:
        """Go on with a compressed request that is whole again, or cannot be; ValueError if `call` is none of those."""

    def thread_finished(self, call: ServerCall, value: Any, error: BaseException | None) -> None:
        """Answer for a handler that ran in a thread; called on the loop. ValueError if `call` has none."""

    def end_calls(self, text: str) -> int:
        """Answer every call that is still under way, and stop its handler."""

    def stats(self) -> dict[str, int]:
        """Return what is under way as plain data: calls, one_way, buffered, credit."""
