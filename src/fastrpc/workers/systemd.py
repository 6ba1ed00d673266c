"""Messages to systemd, or another service manager that supports sd_notify."""

import logging
import os
import socket
import time
from collections.abc import Mapping

__all__ = ["Systemd"]

logger = logging.getLogger("fastrpc.server")

#: Seconds to wait until the manager reads a state. If the state were lost, the start or stop would time out.
STATE_SECONDS = 1.0


class Systemd:
    """Sends the server's state, main process and watchdog messages to the service manager.

    The variables are removed from the environment: workers and programs started by them must not notify for the server.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        #: The seconds between watchdog messages; None: the manager wants none.
        self.interval = int(microseconds) / 2e6 if self._path and is_ours and microseconds.isdigit() else None
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            os.environ.pop(name, None)

    def tell(self, *lines: str) -> None:
        """Send a state, if there is a manager. This blocks while the manager does not read."""
        self._send(STATE_SECONDS, *lines)

    def tell_ready(self) -> None:
        """Notify the manager that the server serves."""
        self.tell("READY=1", f"MAINPID={os.getpid()}")

    def tell_reloading(self) -> None:
        """Notify the manager that the server reloads, until `tell_ready` is called."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def feed(self) -> None:
        """Send a watchdog message. This never blocks: if a message is lost, the next follows."""
        self._send(0.0, "WATCHDOG=1")

    @property
    def environment(self) -> dict[str, str]:
        """The variables for a program that takes over from this program, and that may have another parent."""
        if not self._path:
            return {}
        interval = {} if self.interval is None else {"WATCHDOG_USEC": str(round(self.interval * 2e6))}
        return {"NOTIFY_SOCKET": self._path, **interval}

    def leave(self, process: int) -> None:
        """Declare another process the main process, which sends all further messages."""
        self.tell(f"MAINPID={process}")
        self._path, self.interval = "", None

    def _send(self, patience: float, *lines: str) -> None:
        if not self._path:
            return
        # A path that begins with @ is a name in Linux's abstract namespace.
        path = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(patience)
                sending.sendto("\n".join(lines).encode(), path)
        except OSError as error:
            logger.warning("cannot send the service manager %s: %s", lines[0], error)
