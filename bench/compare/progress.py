"""The progress of a run, on standard error: a live line on a terminal, else a line per measurement."""

import time
from collections.abc import Callable
from typing import TextIO

from bench.compare.rounds import Outcome, Step

#: Return to the start of the line and clear it, see console_codes(4).
CLEAR_LINE = "\r\033[K"


class Progress:
    """Counts measurements and estimates when the last one is taken.

    Args:
        count: measurements there will be.
        output: the destination of the lines; on a terminal one line changes.
        step_seconds: the time of a measurement before the first one.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        count: int,
        output: TextIO,
        *,
        step_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._output = output
        self._step_seconds = step_seconds
        self._clock = clock
        self._is_live = output.isatty()
        self._began = clock()
        self._done = 0

    def begin(self, step: Step) -> None:
        """Show the measurement that begins now."""
        if self._is_live:
            self._show(f"{CLEAR_LINE}{self._place(self._done + 1)} {_describe(step)} {self._remaining()}")

    def end(self, step: Step, outcome: Outcome) -> None:
        """Show the result; on a terminal only a failure stays."""
        self._done += 1
        line = f"{self._place(self._done)} {_describe(step)} {_rate(step, outcome)}"
        if not self._is_live:
            self._show(f"{line}  {self._remaining()}\n")
        elif outcome.measurement is None:
            self._show(f"{CLEAR_LINE}{line}\n")
        if self._is_live and self._done == self._count:
            self._show(CLEAR_LINE)

    def remaining_seconds(self) -> float:
        """Return the estimated rest, at the pace so far."""
        pace = (self._clock() - self._began) / self._done if self._done else self._step_seconds
        return (self._count - self._done) * pace

    def _place(self, number: int) -> str:
        return f"[{number:{len(str(self._count))}}/{self._count}]"

    def _remaining(self) -> str:
        minutes, seconds = divmod(round(self.remaining_seconds()), 60)
        return f"{minutes}:{seconds:02} left"

    def _show(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


def _describe(step: Step) -> str:
    return f"round {step.round}  {step.workload.name:18} {step.peer.name:21}"


def _rate(step: Step, outcome: Outcome) -> str:
    if outcome.measurement is None:
        return f"failed: {outcome.error}"
    unit = "messages/s" if step.workload.is_stream else "calls/s"
    return f"{outcome.measurement.calls / outcome.measurement.seconds:>12,.0f} {unit}"
