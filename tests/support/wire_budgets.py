"""Budgets against floods, PROTOCOL.md section 9: every one ends in CALM_DOWN."""

from collections.abc import Callable
from fractions import Fraction

from tests.support.wire_layout import Reason, WireError

__all__ = ["REFILL_FRAMES", "Bucket", "CreditBudget", "IdleBudget", "LateBudget", "PieceBudget", "PingBudget"]

#: Frames per second that refill a budget for frames nobody needs.
REFILL_FRAMES = Fraction(330)
#: The same for bytes, at 1 KiB a frame.
REFILL_BYTES = REFILL_FRAMES * 1024
LATE_FRAMES = 1_000
#: Control frames that can honestly cross the end of one call: END, CANCEL and two CREDITs.
FRAMES_CROSSING_AN_END = 4
#: The least cost of a late frame; smaller ones are no cheaper to discard.
SMALLEST_LATE_COST = 64
STRIKES = 3
#: timeout_us of a REQUEST that has no deadline.
NO_TIMEOUT = 2**64 - 1
#: The cost of handling a middle piece, in bytes: its payload pays for it.
PIECE_COST = 64


class Bucket:
    """Tokens that come back with time, counted exactly."""

    def __init__(self, name: str, size: int, per_second: Fraction, clock: Callable[[], float]) -> None:
        self._name = name
        self._size = size
        self._per_second = per_second
        self._clock = clock
        self._refilled_at = clock()
        self.tokens: Fraction | int = size

    def take(self, count: int = 1) -> None:
        """Take tokens; `WireError` CALM_DOWN when there are fewer."""
        now = self._clock()
        if self.tokens < self._size and now != self._refilled_at:
            grown = self.tokens + Fraction(now - self._refilled_at) * self._per_second
            self.tokens = min(self._size, grown)
        self._refilled_at = now
        if self.tokens < count:
            raise WireError(Reason.CALM_DOWN, f"the budget for {self._name} is used up")
        self.tokens -= count

    def enlarge(self, count: int) -> None:
        """Let it hold more, and put that much in."""
        self._size += count
        self.tokens += count

    def give(self, count: int, highest: int) -> None:
        """Put tokens in, also above the limit of refilling."""
        self.tokens = max(self.tokens, min(self.tokens + count, highest))


class LateBudget:
    """Frames that come for calls which are over here: honest ones never use it up."""

    def __init__(self, window: int, clock: Callable[[], float]) -> None:
        self._window = window
        self._frames = Bucket("late frames", LATE_FRAMES, REFILL_FRAMES, clock)
        self._bytes = Bucket("late bytes", window, REFILL_BYTES, clock)

    def discard(self, window_cost: int) -> None:
        """Charge one late frame: by bytes when it counts on the connection window, else by number."""
        if window_cost:
            self._bytes.take(max(SMALLEST_LATE_COST, window_cost))
        else:
            self._frames.take()

    def call_ended(self, calls: int) -> None:
        """Make room for the frames that can cross the end of one call, at most for `calls` of them."""
        highest = LATE_FRAMES + FRAMES_CROSSING_AN_END * calls
        self._frames.give(FRAMES_CROSSING_AN_END, highest)

    def cut_short(self) -> None:
        """Make room for one window of bytes, the most that can be under way."""
        self._bytes.give(self._window, self._window)


class IdleBudget:
    """Calls that come to nothing through their caller; those that are answered make room for more."""

    SIZE = 1_000
    PER_CALL = 4
    PER_SECOND = Fraction(10_000)

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls = 0
        self._bucket = Bucket("calls that come to nothing", self.SIZE, self.PER_SECOND, clock)

    def widen(self, calls: int) -> None:
        """Go by a MAX_CALLS that was announced, if it is the highest so far."""
        if calls > self._calls:
            self._bucket.enlarge(self.PER_CALL * (calls - self._calls))
            self._calls = calls

    def take(self) -> None:
        """Charge a call that was cancelled, or refused for its caller's fault."""
        self._bucket.take()

    def answered(self) -> None:
        """Note a call that was answered."""
        self._bucket.give(1, self.SIZE + self.PER_CALL * self._calls)

    def has_passed(self, since: float, timeout_us: int) -> bool:
        """Say whether at least half of a call's stated time has passed."""
        if timeout_us in (0, NO_TIMEOUT):
            return False
        return (round(self._clock() * 1e9) - round(since * 1e9)) * 2 >= timeout_us * 1_000


class PieceBudget:
    """Middle pieces pay for themselves by their payload; the budget lends them the missing tokens."""

    def __init__(self, window: int, clock: Callable[[], float]) -> None:
        self._window = window
        self._lent = Bucket("short pieces", window, REFILL_BYTES, clock)

    def take(self, payload_size: int) -> None:
        """Charge one middle piece."""
        if payload_size < PIECE_COST:
            self._lent.take(PIECE_COST - payload_size)
        else:
            self._lent.give(payload_size - PIECE_COST, self._window)


class CreditBudget:
    """CREDIT frames go with data: so many for each frame sent to the peer that gives credit."""

    FREE = 100
    PER_FRAME = 10

    def __init__(self) -> None:
        self._received = 0
        self.frames_sent = 0

    def take(self) -> None:
        self._received += 1
        allowed = self.FREE + self.PER_FRAME * self.frames_sent
        if self._received > allowed:
            raise WireError(Reason.CALM_DOWN, f"{self._received} CREDIT frames, {allowed} are allowed")


class PingBudget:
    """Three PINGs in a row that come too soon are too many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._previous: float | None = None
        self._strikes = 0

    def take(self, shortest_ms: int) -> None:
        """Note a PING; `WireError` CALM_DOWN on the third strike."""
        now = self._clock()
        previous, self._previous = self._previous, now
        if previous is None or now - previous >= shortest_ms / 2000:
            self._strikes = 0
            return
        self._strikes += 1
        if self._strikes == STRIKES:
            raise WireError(Reason.CALM_DOWN, f"PINGs come faster than every {shortest_ms / 2} ms")
