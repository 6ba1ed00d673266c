"""The channel between a supervisor and a worker process: a socket pair.

::

    supervisor ──► worker    one byte each: the index of an address, with a connection accepted there; MOVE: one
                             connection is to go to another worker; DRAIN; QUIT
    supervisor ◄── worker    lines of JSON: {"started": …}, {"failed": …}, {"leaving": true},
                             {"wants_successor": true}, {"interrupted": true} by user code, {"retired": true} of an
                             announcer

The end of the stream means that the other process has ended.
"""

import contextlib
import json
import socket
from typing import Any

__all__ = ["DRAIN", "MOVE", "QUIT", "SupervisorEnd", "WorkerEnd"]

MOVE = 0xFD
DRAIN = 0xFE
QUIT = 0xFF


class SupervisorEnd:
    """The supervisor's end, which never blocks."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._received = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def hand_over(self, index: int, connection: socket.socket) -> bool:
        """Send a connection to the worker. Return False if the worker cannot receive it now."""
        try:
            return socket.send_fds(self._socket, [bytes([index])], [connection.fileno()]) == 1
        except OSError:
            return False

    def tell(self, command: int) -> bool:
        """Send MOVE, DRAIN or QUIT; return False if the worker does not read."""
        try:
            return self._socket.send(bytes([command])) == 1
        except OSError:
            return False

    def reports(self) -> list[dict[str, Any]]:
        """Return the reports that have arrived, an empty list if the worker has ended."""
        try:
            while data := self._socket.recv(65_536):
                self._received += data
        except (BlockingIOError, ConnectionError):
            pass
        *lines, self._received = self._received.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close this process's end."""
        self._socket.close()


class WorkerEnd:
    """The worker's side."""

    def __init__(self, connected: socket.socket) -> None:
        #: False after this process has noticed the end of the supervisor.
        self.is_open = True
        connected.setblocking(False)
        self._socket = connected

    def fileno(self) -> int:
        return self._socket.fileno()

    def report(self, **values: Any) -> None:
        """Send a report and block until it is written. Do nothing if the supervisor has ended."""
        self._socket.setblocking(True)
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(values).encode() + b"\n")
        self._socket.setblocking(False)

    def receive(self) -> tuple[int, socket.socket | None] | None:
        """Return the next command with its connection; None if no command has arrived.

        The end of the supervisor counts as DRAIN.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return DRAIN, None
        if not descriptors:
            return data[0], None
        connection = socket.socket(fileno=descriptors[0])
        # Otherwise programs that a handler starts would keep the connection open.
        connection.set_inheritable(False)
        return data[0], connection

    def close(self) -> None:
        """Close this process's end."""
        self._socket.close()
