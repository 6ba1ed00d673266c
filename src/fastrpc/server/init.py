"""Process 1, as a container starts a program: it gets the signals, and the orphans of all others become its children.

A process that serves cannot end zombies: it does not know which children its program waits for. So the program goes on
in a child, and process 1 does nothing but this::

    process 1 ── passes signals on, ends zombies ──► ends with the code of its child
        └── the program, which serves

With several workers their supervisor is process 1, and does it itself.
"""

import contextlib
import os
import signal
import threading
from typing import Final, NoReturn

from fastrpc.server.process import flush_output

__all__ = ["go_on_in_a_child", "is_needed"]

_PASSED_ON: Final = frozenset(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)

#: A shell's code for a program that a signal ended, less the number of the signal.
_SIGNALLED: Final = 128


def is_needed() -> bool:
    """Return whether this is process 1 and may go on in a child: threads of the program would stay behind."""
    return os.getpid() == 1 and hasattr(signal, "sigwaitinfo") and threading.active_count() == 1


def go_on_in_a_child() -> None:
    """Return in a child; this process stays behind and ends with it."""
    awaited = _PASSED_ON | {signal.SIGCHLD}
    flush_output()
    # None gets lost between the fork and the wait.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child:
        _stay_behind(child, awaited)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stay_behind(child: int, awaited: frozenset[signal.Signals]) -> NoReturn:
    while True:
        told = signal.sigwaitinfo(awaited)
        if told.si_signo == signal.SIGCHLD:
            _reap(child)
        # What a terminal sends, which is the kernel, reaches the whole group: the child has it.
        elif told.si_code <= 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, told.si_signo)


def _reap(child: int) -> None:
    """End the zombies; end this process if the child is one of them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if not ended:
                return
            if ended == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else _SIGNALLED - code)
