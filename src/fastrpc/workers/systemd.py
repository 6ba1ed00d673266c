"""Messages of a server to systemd, or to any other service manager that speaks sd_notify."""

import logging
import os
import socket
import time
from collections.abc import Mapping

__all__ = ["Systemd"]

logger = logging.getLogger("fastrpc.server")

#: Seconds that a state waits for a manager that does not read. If the state were lost, the start or stop would time
#: out.
STATE_SECONDS = 1.0


class Systemd:
    """Notifies the service manager of the server's state, its main process, and its life signs.

    The variables are taken out of the environment: workers and programs that they start must not answer for the server.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        #: How often it wants to hear that the server lives, in seconds; None: never.
        self.interval = int(microseconds) / 2e6 if self._path and is_ours and microseconds.isdigit() else None
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)

    def tell(self, *lines: str) -> None:
        """Send a state, if a manager asked for them. It blocks while the manager does not read."""
        self._send(STATE_SECONDS, *lines)

    def tell_ready(self) -> None:
        """Tell that the server serves."""
        self.tell("READY=1", f"MAINPID={os.getpid()}")

    def tell_reloading(self) -> None:
        """Tell that files are being read again, until `tell_ready` is called."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def feed(self) -> None:
        """Tell that the server lives. This never blocks: if a sign of life is lost, the next one follows."""
        self._send(0.0, "WATCHDOG=1")

    @property
    def environment(self) -> dict[str, str]:
        """The variables for a program that takes over from this one. That program may have another parent."""
        if not self._path:
            return {}
        interval = {} if self.interval is None else {"WATCHDOG_USEC": str(round(self.interval * 2e6))}
        return {"NOTIFY_SOCKET": self._path, **interval}

    def leave(self, process: int) -> None:
        """Name another process as the main one, and send nothing more: that process continues the messages."""
        self.tell(f"MAINPID={process}")
        self._path, self.interval = "", None

    def _send(self, patience: float, *lines: str) -> None:
        if not self._path:
            return
        # A path that begins with @ is in Linux's abstract namespace.
        path = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(patience)
                sending.sendto("\n".join(lines).encode(), path)
        except OSError as error:
            logger.warning("cannot send the service manager %s: %s", lines[0], error)
