"""A command and its children in one process group, which is a job of this process's terminal, if there is one.

Signals are sent to the whole group. The group gets the terminal's foreground, and with it Ctrl-C, at its start or once
it tries to use the terminal. When the command is stopped, this process stops too, since the shell watches only this
process.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from fastrpc.coordination.locks import Lock
from fastrpc.time_limit import time_limit

__all__ = ["CommandGroup"]

#: Seconds between two checks whether the command is stopped: asyncio reports only that it has ended.
_LOOK_SECONDS: Final = 0.1

#: Signals that stop a background group when it uses the terminal.
_ASKING: Final = (signal.SIGTTIN, signal.SIGTTOU)


class CommandGroup:
    """A command, run once.

    Attributes:
        signals: the signals that are passed on to the command, including signals that arrive before it starts.
    """

    def __init__(self) -> None:
        # A stop is passed on only at a terminal: only there does a shell notice it.
        self._at_terminal = os.isatty(0) and hasattr(os, "waitid")
        self.signals = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        if self._at_terminal:
            self.signals += [signal.SIGQUIT, signal.SIGTSTP]
        self._early: list[int] = []
        self._process: asyncio.subprocess.Process | None = None
        self._has_foreground = False

    def send(self, number: int) -> None:
        """Send a signal to all processes of the group."""
        if self._process is None:
            self._early.append(number)
            return
        # The first process of the group may have ended before others.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
            if number != signal.SIGTSTP:
                # A stopped process handles the signal only after it continues.
                os.killpg(self._process.pid, signal.SIGCONT)

    async def run(self, command: Sequence[str], environment: Mapping[str, str], held: Lock) -> int:
        """Run the command while a lock is held; return its exit code, negative for a signal."""
        process = self._process = await self._start(command, environment)
        for number in self._early:
            self.send(number)
        if not self._at_terminal:
            return await process.wait()
        ended = asyncio.ensure_future(process.wait())
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=_LOOK_SECONDS)
                self._follow(process, held)
        finally:
            ended.cancel()
        code, had_foreground = ended.result(), self._has_foreground
        self._leave_foreground()
        if code == -signal.SIGINT and had_foreground:
            # Pass Ctrl-C on to the other programs of this process group, such as a script: the terminal did not send it
            # to them.
            _signal_own_group(signal.SIGINT, signal.SIG_IGN)
        return code

    async def end(self, seconds: float) -> None:
        """Send SIGTERM to the group and, once its command has ended or the time is over, SIGKILL."""
        if self._process is None:
            return
        try:
            self.send(signal.SIGTERM)
            try:
                async with time_limit(seconds):
                    await self._process.wait()
            except TimeoutError:
                pass
            # SIGKILL also ends the other processes of the group.
            self.send(signal.SIGKILL)
            await self._process.wait()
        finally:
            self._leave_foreground()

    async def _start(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        # If standard output is not the terminal, leave the foreground alone: a pager that reads the output may read
        # keys.
        self._has_foreground = self._at_terminal and os.isatty(1) and _owns_foreground()
        # uvloop does not support `process_group`.
        lead = partial(_lead_group, has_foreground=self._has_foreground) if self._at_terminal else None
        try:
            return await asyncio.create_subprocess_exec(
                *command, env=environment, start_new_session=not self._at_terminal, preexec_fn=lead
            )
        except BaseException:
            self._leave_foreground()
            raise

    def _follow(self, process: asyncio.subprocess.Process, held: Lock) -> None:
        """Continue the command if it was stopped; if it was stopped for using the terminal, in the foreground.

        If it was stopped for another reason, this process stops, too, and both continue together.
        """
        stopped = None
        with contextlib.suppress(ChildProcessError):
            stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG)
        if stopped is None:
            return
        takes = self._has_foreground or stopped.si_status in _ASKING
        if not (stopped.si_status in _ASKING and _owns_foreground()):
            self._leave_foreground()
            _signal_own_group(signal.SIGTSTP, signal.SIG_DFL)
            # This process was stopped and continues here. If the lock was lost meanwhile, SIGTERM would be too late.
            held.lease.check()
            if not held.is_held:
                self.send(signal.SIGKILL)
                return
        self._has_foreground = takes and _owns_foreground()
        if self._has_foreground:
            _set_foreground(process.pid)
        self.send(signal.SIGCONT)

    def _leave_foreground(self) -> None:
        if self._has_foreground:
            _set_foreground(os.getpgrp())
        self._has_foreground = False


def _lead_group(*, has_foreground: bool) -> None:
    os.setpgid(0, 0)
    if has_foreground:
        _set_foreground(os.getpgrp())


def _owns_foreground() -> bool:
    """Return whether the group of this process gets terminal input; False if no session has the terminal."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _set_foreground(group: int) -> None:
    # `tcsetpgrp` stops a background process unless it blocks this signal.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        # The group may have ended, and the terminal may no longer exist.
        with contextlib.suppress(OSError):
            os.tcsetpgrp(0, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_own_group(number: signal.Signals, action: signal.Handlers) -> None:
    before = signal.signal(number, action)
    os.killpg(0, number)
    signal.signal(number, before)
