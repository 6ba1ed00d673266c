"""Process 1 of a container, which gets the signals, and to which orphaned processes are reparented.

A serving process cannot reap zombies, because it does not know which children its program waits for. So the program
runs in a child, and process 1 only does this::

    process 1 ── passes signals on, reaps zombies ──► ends with the code of its child
        └── the program, which serves

With several workers the supervisor is process 1 and does this itself.
"""

import contextlib
import os
import signal
import threading
from typing import Final, NoReturn

from fastrpc.workers.process import flush_output

__all__ = ["go_on_in_a_child", "is_needed"]

#: The signals that are passed on to the child.
_PASSED_ON: Final = frozenset(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)

#: If a signal ended the child, the exit code is this plus the signal's number, as in a shell.
_SIGNALLED: Final = 128

#: The largest descriptor of a standard stream.
_LAST_STREAM: Final = 2


def is_needed() -> bool:
    """Return whether this is process 1 and may continue in a child.

    False if the process has threads or children: threads do not survive a fork, and only this process can wait for its
    children.
    """
    return (
        os.getpid() == 1
        and hasattr(signal, "sigwaitinfo")
        and threading.active_count() == 1
        and not _has_children()
    )


def go_on_in_a_child() -> None:
    """Fork, and return in the child. This process stays, and ends with the exit code of the child."""
    awaited = _PASSED_ON | {signal.SIGCHLD}
    flush_output()
    # Blocked, so that no signal is lost between the fork and the wait.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child:
        _stay_behind(child, awaited)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _stay_behind(child: int, awaited: frozenset[signal.Signals]) -> NoReturn:
    _close_descriptors()
    while True:
        received = signal.sigwaitinfo(awaited)
        if received.si_signo == signal.SIGCHLD:
            _reap(child)
        # Only a signal sent by another process is passed on. Signals of a terminal come from the kernel (above 0), and
        # reach the child by themselves.
        elif received.si_code <= 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, received.si_signo)


def _close_descriptors() -> None:
    """Close all descriptors except the standard streams, so that only the child keeps connections open."""
    try:
        opened = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        # /proc is not mounted.
        os.closerange(_LAST_STREAM + 1, os.sysconf("SC_OPEN_MAX"))
        return
    for descriptor in opened:
        if descriptor > _LAST_STREAM:
            # The list contains the descriptor of the listing itself, which is already closed.
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _reap(child: int) -> None:
    """Reap all zombies; end this process if the child is one of them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if not ended:
                return
            if ended == child:
                # A negative code is the number of the signal that ended the child.
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else _SIGNALLED - code)
