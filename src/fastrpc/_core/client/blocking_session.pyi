from typing import Any, final

from fastrpc._core.client.blocking_wait import ReentryGuard
from fastrpc._core.io.blocking_io import BlockingIO
from fastrpc._core.io.client_life import ClientLife
from fastrpc._core.io.engine import Engine
from fastrpc.endpoint import Endpoint

@final
class BlockingSession:
    """One connection to one endpoint, used by any number of threads at once.

    It has neither a loop nor a thread: the threads that wait for answers take turns in sending and receiving for all
    of them.

    Args:
        engine: the protocol; its `calling` makes the calls.
        io: the connected input and output.
        endpoint: the address it leads to; errors name it.
        linger: the seconds that a close waits for the server to close, too.
        spin_microseconds: the time for which a reading thread polls before it sleeps.
        reentry: knows which threads wait in the client that it belongs to.

    Raises:
        TypeError: the engine makes no calls.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        io: BlockingIO,
        endpoint: Endpoint | str,
        linger: float = 0.0,
        spin_microseconds: int = 0,
        reentry: ReentryGuard | None = None,
    ) -> None: ...
    @property
    def engine(self) -> Any:
        """The protocol."""

    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def is_left_behind(self) -> bool:
        """Whether the connection belongs to the parent of this forked process; then it is closed here only."""

    @property
    def is_usable(self) -> bool:
        """Whether it takes new calls."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over."""

    @property
    def life(self) -> ClientLife:
        """The rules of its age and rest."""

    @property
    def is_ready(self) -> bool:
        """Whether the server has shown its settings."""

    @property
    def lost_because(self) -> str | None:
        """The reason for the end of the connection; None while it stands."""

    @property
    def lost_hint(self) -> str | None:
        """The hint of the error that ended the connection, or None."""

    @property
    def users(self) -> int:
        """The number of threads that have a call here."""

    @property
    def used_at(self) -> float:
        """Instant of `time.monotonic()` at which the last use ended; the present instant during a call."""

    @property
    def lifetime(self) -> float:
        """Seconds from the start of the connection to its end, or to now."""

    def catch_up(self) -> None:
        """Process input that arrived while no thread was reading, and apply the time limits; do not wait."""

    def wait_ready(self, deadline: float | None) -> bool:
        """Return whether the server shows its settings before an instant of `time.monotonic()`; None: no limit."""

    def retire(self) -> None:
        """Take no new calls; the connection closes with the last call under way."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Say goodbye and close; calls of other threads fail. Waits up to `Timeouts.linger` for the server to close."""

    def detach(self) -> None:
        """Close the descriptor without a word to the server: for a child process, whose parent goes on using it."""

    def stats(self) -> dict[str, Any]:
        """Return what is under way as plain data: calls, waiting, buffered, credit."""
