"""Credit: the bytes that may still come and go, and the pieces of one message."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.wire_frames import Data
from tests.support.wire_layout import HIGHEST_WINDOW, Reason, WireError

__all__ = ["Assembly", "ReceiveWindow", "SendWindow", "StreamPool"]


class SendWindow:
    """The bytes that the peer still takes from us, on the connection or on one stream."""

    def __init__(self, size: int) -> None:
        self.left = size

    def lift(self, size: int) -> None:
        """Add credit; `WireError` when the sum gets too large."""
        if self.left + size > HIGHEST_WINDOW:
            raise WireError(Reason.CREDIT, f"a window of {self.left} + {size} bytes is above 2**31 - 1")
        self.left += size


class Assembly:
    """The received pieces of a cut message."""

    def __init__(self, total: int, first_piece: bytes) -> None:
        self.total = total
        self.payload = bytearray(first_piece)

    @property
    def missing(self) -> int:
        return self.total - len(self.payload)

    def add(self, piece: Data) -> bool:
        """Add a piece and say whether it was the last; `WireError` when the sum differs from total."""
        self.payload += piece.payload
        wrong = self.missing <= 0 if piece.more else self.missing != 0
        if wrong:
            raise WireError(
                Reason.PROTOCOL, f"pieces of {len(self.payload)} bytes for a message of {self.total}"
            )
        return not piece.more


@dataclass(slots=True)
class Reservation:
    """The bytes that one message of a stream took from the window, and the bytes granted for it in addition."""

    cost: int
    granted: int = 0
    reserved: int = 0


class StreamPool:
    """Memory for windows that grow, and for messages larger than their window: these come first, in order."""

    def __init__(self, size: int, largest_message: int) -> None:
        self.largest_window = size // 4
        self.growth_left = size // 2
        self.left = max(size, self.growth_left + largest_message)
        self._waiting: deque[ReceiveWindow] = deque()

    def lend(self, size: int) -> bool:
        """Take this size for a window that grows, if it is at most half of the remaining share for growth."""
        if self._waiting or size > self.left or 2 * size > self.growth_left:
            return False
        self.left -= size
        self.growth_left -= size
        return True

    def take_back(self, size: int) -> None:
        """Take back the growth of a window."""
        self.growth_left += size
        self.release(size)

    def reserve(self, size: int, window: "ReceiveWindow") -> bool:
        """Take from the pool; False when that must wait, then the window is asked again."""
        is_next = not self._waiting or self._waiting[0] is window
        if is_next and size <= self.left:
            self.left -= size
            if self._waiting:
                self._waiting.popleft()
            return True
        if window not in self._waiting:
            self._waiting.append(window)
        return False

    def release(self, size: int) -> None:
        """Give back, and serve those who wait."""
        self.left += size
        while self._waiting and self._waiting[0].grant_missing():
            pass

    def forget(self, window: "ReceiveWindow") -> None:
        """Drop a window whose call is over."""
        if window in self._waiting:
            self._waiting.remove(window)


@dataclass(eq=False, slots=True)
class ReceiveWindow:
    """The bytes that the peer may still send on one stream.

    Messages are owed when the application takes them.
    """

    size: int
    pool: StreamPool
    #: Sends CREDIT of the given number of bytes to the peer.
    send_credit: Callable[[int], None]
    left: int = field(init=False)
    owed: int = 0
    first_size: int = field(init=False)
    #: The sender had to wait for the window since the application last waited.
    was_short: bool = False
    #: The window held the application up once.
    held_up: bool = False
    #: Bytes returned since the window grew or held the application up.
    returned: int = 0
    #: Bytes returned since the sender had to wait.
    calm: int = 0
    #: The message whose pieces are outstanding.
    assembly: Assembly | None = None
    _format: tuple[int, int] = (0, 0)
    _open: Reservation | None = None
    _waiting: deque[Reservation] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.left = self.first_size = self.size

    def receive(self, piece: Data) -> None:
        """Charge a piece; `WireError` when the window has less."""
        if piece.stream_cost > self.left:
            raise WireError(
                Reason.CREDIT, f"DATA of {piece.stream_cost} bytes, its stream has {self.left} left"
            )
        self.left -= piece.stream_cost
        if piece.waited:
            self.was_short = True
            self.calm = 0
        if self._open is None:
            self._open = Reservation(0)
        self._open.cost += piece.stream_cost

    def assemble(self, piece: Data) -> tuple[int, int, bytes] | None:
        """Put a charged piece into its place; return codec, compressor and payload of a whole message."""
        payload: bytes | None = piece.payload
        if not piece.cont:
            self._format = (piece.codec, piece.compressor)
        if piece.total is not None:
            self.assembly = Assembly(piece.total, piece.payload)
            self.grant_missing()
            payload = None
        elif self.assembly is not None:
            payload = bytes(self.assembly.payload) if self.assembly.add(piece) else None
        if payload is None:
            return None
        assert self._open is not None
        self._waiting.append(self._open)
        self.assembly = self._open = None
        return (*self._format, payload)

    def grant_missing(self) -> bool:
        """Grant the missing bytes of a message larger than the window, once no whole message waits."""
        if self.assembly is None or self._open is None or self._waiting:
            return False
        wanted = self.assembly.missing - self.left
        if wanted <= 0 or self._open.reserved or not self.pool.reserve(self.assembly.total, self):
            return False
        self._open.reserved = self.assembly.total
        self._open.granted = wanted
        self._grant(wanted)
        return True

    def take_message(self, *, is_open: bool = True) -> None:
        """Note that the application took the oldest message; nothing is granted once no more can come."""
        message = self._waiting.popleft()
        self.owed += message.cost - message.granted
        if is_open:
            if self.owed >= self.size / 2:
                self._return_owed()
            self.grant_missing()
        self.pool.release(message.reserved)

    def wait_for_message(self, *, is_open: bool = True) -> None:
        """Note that the application waits for a message: a window that held it up twice in a row grows."""
        was_short, self.was_short = self.was_short, False
        returned = self.returned + self.owed
        if not was_short or returned < self.size * 3 / 4:
            return
        if not self.held_up or returned > 2 * self.size:
            self.held_up = True
            self.returned = -self.owed
            return
        growth = min(self.size, self.pool.largest_window - self.size)
        if is_open and growth > 0 and self.pool.lend(growth):
            self.size += growth
            self.returned = self.calm = 0
            self.held_up = False
            self._grant(self.owed + growth)
            self.owed = 0

    def _return_owed(self) -> None:
        """Grant the owed bytes, less half of a grown window for which the sender has not waited in 16 of them."""
        self.returned += self.owed
        self.calm += self.owed
        kept = 0
        if self.calm >= 16 * self.size:
            kept = min(self.size // 2, self.size - self.first_size)
        if kept:
            self.size -= kept
            self.owed -= kept
            self.calm = 0
            self.pool.take_back(kept)
        if self.owed:
            self._grant(self.owed)
            self.owed = 0

    def close(self) -> None:
        """Give back the reserved bytes; the call is over."""
        messages = [*self._waiting] + ([self._open] if self._open else [])
        reserved = sum(message.reserved for message in messages)
        self._waiting.clear()
        self.assembly = self._open = None
        self.pool.forget(self)
        grown, self.size = self.size - self.first_size, self.first_size
        self.pool.growth_left += grown
        self.pool.release(reserved + grown)

    def _grant(self, size: int) -> None:
        self.left += size
        self.send_credit(size)
