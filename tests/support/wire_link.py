"""The common parts of both call tables of one connection: events, output, settings and budgets."""

from collections.abc import Callable
from typing import Any

from tests.support.wire_budgets import CreditBudget, IdleBudget, LateBudget, PieceBudget
from tests.support.wire_frames import Credit, Data
from tests.support.wire_layout import FLOOR_WINDOW, STREAM_MESSAGE_BYTES, Kind, Reason, WireError
from tests.support.wire_outbox import Outbox
from tests.support.wire_settings import AnnouncedSettings, Setting
from tests.support.wire_windows import ReceiveWindow, SendWindow, StreamPool

__all__ = ["Event", "Link", "broken"]

#: A plain tuple: its name, then its values. `wire_reference` lists them all.
Event = tuple[Any, ...]


class Link:
    """The connection as its calls see it."""

    def __init__(self, is_server: bool, window: int, pool: StreamPool, clock: Callable[[], float]) -> None:
        self.is_server = is_server
        self.events: list[Event] = []
        self.outbox = Outbox()
        self.ours = AnnouncedSettings(is_server)
        self.theirs = AnnouncedSettings(not is_server)
        self.late = LateBudget(window, clock)
        self.pieces = PieceBudget(window, clock)
        self.idle = IdleBudget(clock)
        self.clock = clock
        self.credit_budget = CreditBudget()
        self.stream_pool = pool

    def emit(self, name: str, *values: Any) -> None:
        self.events.append((name, *values))

    def limit(self, name: int) -> int:
        """Return our newest value of a limit that only refuses single calls."""
        value: int = self.ours.newest[name]
        return value

    @property
    def most_calls(self) -> int:
        """The highest MAX_CALLS we ever announced."""
        return self.ours.most_calls

    @property
    def stream_message_limit(self) -> int:
        """Bytes of a stream message at most: its grant has to fit the bound of its window."""
        return min(self.limit(Setting.MAX_MESSAGE), STREAM_MESSAGE_BYTES)

    @property
    def open_messages(self) -> int:
        return self.ours.most_generous(Setting.OPEN_MESSAGES)

    def discard(self, kind: Kind, call_id: int, window_cost: int = 0) -> None:
        """Drop a frame that came too late."""
        self.late.discard(window_cost)
        self.emit("discarded", kind.name, call_id)

    def continued(self, piece: Data) -> None:
        """Charge a piece that continues a message, if more follow it."""
        if piece.more:
            self.pieces.take(len(piece.payload))

    def call_ended(self, *, cut_short: bool) -> None:
        """Note that a call ended here, perhaps before its peer can know."""
        self.late.call_ended(self.limit(Setting.MAX_CALLS))
        if cut_short:
            self.late.cut_short()

    def send_window(self) -> SendWindow:
        """Make the window for our messages on a new stream."""
        return SendWindow(self.theirs.newest[Setting.STREAM_WINDOW])

    def receive_window(self, call_id: int, *, opened_by_peer: bool) -> ReceiveWindow:
        """Make the window for the peer's messages on a new stream."""
        # The opener's ACK stood before its REQUEST, or it went by the floor.
        by_floor = opened_by_peer and not self.ours.is_acknowledged
        size = FLOOR_WINDOW if by_floor else self.limit(Setting.STREAM_WINDOW)
        return ReceiveWindow(
            size, self.stream_pool, lambda granted: self.outbox.control(Credit(call_id, granted).encode())
        )


def broken(text: str) -> WireError:
    """Return the error for a frame that its state does not allow."""
    return WireError(Reason.PROTOCOL, text)
