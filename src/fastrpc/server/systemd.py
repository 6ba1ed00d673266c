"""What a server tells systemd, or whatever else speaks its protocol (sd_notify)."""

import logging
import os
import socket
from collections.abc import Mapping

__all__ = ["Systemd"]

logger = logging.getLogger("fastrpc.server")


class Systemd:
    """Tells the service manager about the server: its state, its main process, and that it lives.

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
        """Send a notification; do nothing where nobody asked for them."""
        if not self._path:
            return
        # A path that begins with @ is a name of Linux's own.
        path = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
                sending.setblocking(False)
                sending.sendto("\n".join(lines).encode(), path)
        except OSError as error:
            logger.warning("cannot tell the service manager %s: %s", lines[0], error)

    def tell_ready(self) -> None:
        """Tell that the server serves."""
        self.tell("READY=1", f"MAINPID={os.getpid()}")
