"""The pauses between the dials of one address, sans-IO. They grow while its server is down.

A loop redials a lost connection even if no call needs it. The pause after such a failed dial must not fail a later
call: the server may be back long before the pause is over. So the first call that asks for a connection ends the pause.

- A dial counts as *requested* if a call was made since the previous dial failed, or a call waits when this dial fails.
  The pause after a requested dial is kept: calls fail until it is over, so a frequent caller does not dial a dead
  server more often.
- After a connection that ended right after SETTINGS, the pause is kept if a call requested the dial or used the
  connection. A call can end any other pause, but only once until a connection lasts.
- If a call ends a short pause, its dial replaces the dial after that pause: the next pause is counted from the time at
  which the replaced dial was due. So calls do not dial a dead server more often.
- After a long pause the loop dials its server rarely. The first call that ends a long pause restarts the pauses with
  `Backoff.first`, so a client that is used again reconnects quickly. When an unrequested dial fails, the pauses
  continue with their former length.
- A server answers before it refuses the credentials, and an answer restarts the pauses. So unrequested dials that are
  refused have separate pauses, which grow until a connection lasts.
"""

import random
from collections.abc import Callable

from fastrpc.config import Backoff
from fastrpc.config.delays import Delays

__all__ = ["LONG_SECONDS", "DialPauses"]

#: Pauses of this many seconds or more are long: a call that ends a long pause restarts the pauses. A lower value dials
#: a dead server more often for calls; a higher one leaves an idle client without a connection for longer.
LONG_SECONDS = 5.0


class DialPauses:
    """The pauses of one address."""

    def __init__(self, backoff: Backoff, uniform: Callable[[float, float], float] = random.uniform) -> None:
        #: The instant of the next dial.
        self.due = 0.0
        self._delays, self._after_refusals = Delays(backoff, uniform), Delays(backoff, uniform)
        # Whether the next call ends the pause, because no call asked for the dial before the pause.
        self._is_skippable = False
        # `_is_asked`: a call was made since the last dial failed. `_has_restarted`: a call restarted the pauses since
        # the server answered.
        self._is_asked = self._has_restarted = False
        # `_pause`: the length of the current pause. `_replaced`: if a call replaced a dial by an earlier one, the
        # instant at which the replaced dial was due, else 0.
        self._pause = self._replaced = 0.0
        #: Whether a call asked for the current connection, or was sent on it.
        self.is_called = False
        # Whether a connection has ended early since the last connection that lasted.
        self._ended_early = False

    def left(self, now: float) -> float:
        """Return the seconds until the next dial may begin."""
        return max(0.0, self.due - now)

    def ask(self, now: float) -> bool:
        """Record that a call asks for a connection; return whether this ends the pause."""
        self._is_asked = True
        if not self._is_skippable:
            return False
        self._is_skippable = False
        was_pausing = self.due > now
        if self._pause < LONG_SECONDS:
            self._replaced = self.due
        elif not self._has_restarted:
            self._has_restarted = True
            self._delays.restart()
        self.due = 0.0
        return was_pausing

    def fail(self, at: float, *, is_awaited: bool, is_refused: bool = False) -> None:
        """Pause after a failed dial, longer each time.

        Args:
            is_awaited: whether a call waits for the dial.
            is_refused: whether the server refused the credentials.
        """
        self._is_skippable = not (is_awaited or self._is_asked)
        self._is_asked = False
        if self._is_skippable:
            self._delays.resume()
        at, self._replaced = max(at, self._replaced), 0.0
        is_idle = is_refused and self._is_skippable
        self._begin(at, self._after_refusals if is_idle else self._delays)

    def use(self) -> None:
        """Record that a call is sent on the current connection."""
        self.is_called = True

    def end_early(self, at: float) -> None:
        """Pause, longer each time, after a connection that ended right after the server answered."""
        is_kept = self._ended_early or self._is_asked or self.is_called
        self._is_skippable, self._ended_early = not is_kept, True
        self._is_asked = self.is_called = False
        self.put_off(at)

    def put_off(self, at: float) -> None:
        """Pause before the next dial, longer each time, although no dial failed."""
        self._begin(at, self._delays)

    def _begin(self, at: float, delays: Delays) -> None:
        self._pause = delays.take()
        self.due = at + self._pause

    def answer(self, *, is_awaited: bool = False) -> None:
        """Record that the server answered, which ends an outage.

        Args:
            is_awaited: whether a call waits for an answer.
        """
        self._delays.reset()
        self.is_called = self.is_called or is_awaited or self._is_asked
        self._is_skippable = self._is_asked = self._has_restarted = False
        self._replaced = 0.0

    def last(self) -> None:
        """Record that a connection lasted, or ended as planned: the next pause is the shortest."""
        self._delays.reset()
        self._after_refusals.reset()
        self._ended_early = self.is_called = False
