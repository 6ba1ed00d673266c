from typing import Any

from fastrpc._core.io.engine import ByteStream, PythonEngine
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc.config import Keepalive, Timeouts

class LivedStream(ByteStream):
    """A stream that tells what a test says."""

    taken: int
    is_unread: bool
    @property
    def is_input_held(self) -> bool: ...
    @property
    def looks(self) -> list[int]: ...

class LivedConnection(ServedConnection):
    """A connection whose streams a test names, and the part of its output that holds no calls up."""

    streams: list[Any]
    cut: int

class LivedEngine(PythonEngine):
    """An engine that gives its life the facts of a test, and keeps its orders."""

    is_busy: bool
    is_receiving: bool
    began_ns: int
    heard_ns: int
    received: int
    unsent: int
    parked: int
    def __init__(self, connection: ServedConnection | None = None) -> None: ...
    @property
    def below(self) -> LivedStream: ...
    @property
    def connection(self) -> ServedConnection | None: ...
    @property
    def orders(self) -> list[tuple[Any, ...]]: ...
    def live_by(
        self,
        timeouts: Timeouts,
        keepalive: Keepalive,
        *,
        closes_by_answers: bool = False,
        drains_at_rest: bool = False,
    ) -> None:
        """Set the rules."""

    def begin_drain(self, reason: int, text: str = "") -> None: ...
    def end_calls(self, text: str) -> None: ...
    def close(self, reason: int = 0, text: str = "") -> None: ...
    def abort(self) -> None: ...
    def begin(self, now: int) -> int:
        """Begin the life; return when to look first."""

    def look_at_busy(self, now: int, is_busy: bool) -> int:
        """As `look` of a connection whose messages and output have other rules."""

    def opened(self) -> None: ...
    def used(self, now: int) -> None: ...
    def drains(self, kept_until: int = 0) -> None: ...
    def look(self, now: int) -> int:
        """Return when to look again, after the orders that are due."""

    def lingers(self, now: int) -> int: ...
    def count_in(self) -> bool: ...
    def count_out(self) -> None: ...
    def meet_peer(self) -> bool: ...
    def weigh(self, unsent: int, now: int) -> None: ...
    def weigh_again(self, unsent: int, now: int) -> int: ...
    def check_credentials(self, now: int) -> int: ...
    def note_stall(self, now: int, came: int) -> None: ...
