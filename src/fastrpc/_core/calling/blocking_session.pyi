from typing import Any

from fastrpc._core.calling.blocking_stream import BlockingStream
from fastrpc._core.calling.reentry import ReentryGuard
from fastrpc._core.framing.settings import Settings
from fastrpc._core.io.blocking_io import BlockingIO
from fastrpc._core.native.connection import Connection
from fastrpc.config import Keepalive, Timeouts
from fastrpc.endpoint import Endpoint

class BlockingSession(Connection):
    """The client's side of one connection to one endpoint, used by any number of threads at once.

    It has neither a loop nor a thread: the threads that wait for answers take turns in sending and receiving for all
    of them.

    Args:
        io: what it reads and writes, connected.
        endpoint: where it leads; errors name it.
        timeouts, keepalive: the rules of its life.
        spin_microseconds: how long a reading thread asks again and again before it sleeps.
        reentry: knows which threads wait in the client that it belongs to.
        settings: what to announce.
        early_calls: which calls may leave before the server's settings came.
        takes_values: whether payloads of calls are one value each, as in rpcx.
    """

    def __init__(
        self,
        *,
        io: BlockingIO,
        endpoint: Endpoint,
        timeouts: Timeouts,
        keepalive: Keepalive,
        spin_microseconds: int = 0,
        reentry: ReentryGuard | None = None,
        credential: bytes | None = None,
        settings: Settings,
        early_calls: str = "idempotent",
        takes_values: bool = False,
    ) -> None: ...
    @property
    def byte_stream(self) -> BlockingStream:
        """The stream that the threads share."""

    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def is_left_behind(self) -> bool:
        """Whether this is the child of a fork, and the stream the parent's: closed here, and nowhere else."""

    @property
    def is_aged(self) -> bool:
        """Whether it is older than `Keepalive.max_age`: it takes calls until its successor does, or twice that age."""

    @property
    def is_spent(self) -> bool:
        """Whether it ended for its age, or as it was not used."""

    @property
    def is_ready(self) -> bool:
        """Whether the server's SETTINGS came."""

    @property
    def lost_because(self) -> str | None:
        """Why the connection ended; None while it stands."""

    @property
    def lost_hint(self) -> str | None:
        """What is to be done about that; None where the error does not say."""

    @property
    def users(self) -> int:
        """How many threads have a call here."""

    @property
    def used_at(self) -> float:
        """Instant of `time.monotonic()` at which the last use ended; the present one while there is a call."""

    @property
    def lifetime(self) -> float:
        """Seconds from the connection's making to its end, or to now."""

    def catch_up(self) -> None:
        """Take in what came while no thread read, and obey the limits of time; waits for nothing."""

    def wait_ready(self, deadline: float | None) -> bool:
        """Return whether the server shows its settings before an instant of `time.monotonic()`, or None."""

    def retire(self) -> None:
        """Take no new calls; the connection closes with the last call under way."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Say goodbye and close; calls of other threads fail. Waits up to `Timeouts.linger` for the server to close."""

    def detach(self) -> None:
        """Close the descriptor without a word to the server: for a child process, whose parent goes on using it."""

    def stats(self) -> dict[str, Any]:
        """Return what is under way as plain data: calls, waiting, buffered, credit."""
