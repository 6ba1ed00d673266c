"""Signals that a run of the tests ignores because of the program that started it."""

import signal
from types import FrameType

__all__ = ["IGNORED", "catch_ignored"]

#: `nohup` ignores the first; a shell without job control ignores the other two in its background jobs.
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def catch_ignored() -> None:
    """Catch the signals of `IGNORED` that this process ignores, so that programs it starts have the default action.

    A program inherits ignored signals; caught ones get their default action in it. An interrupt ends the run from now
    on. The run still ignores the other signals.
    """
    for number in IGNORED:
        if signal.getsignal(number) is signal.SIG_IGN:
            is_interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else _go_on)


def _go_on(number: int, frame: FrameType | None) -> None:
    pass
