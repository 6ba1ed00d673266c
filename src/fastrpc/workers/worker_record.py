"""The supervisor's records of its processes."""

import signal
import socket
from collections.abc import Callable
from typing import Any

from fastrpc.workers.monitoring.scoreboard import ProcessPlace, Role
from fastrpc.workers.plan import ExitCode, values_to_failure
from fastrpc.workers.worker_channel import SupervisorEnd, WorkerEnd

__all__ = ["WorkerRecord", "ending", "start_failure"]


class WorkerRecord:
    """The record of a worker or another process: its name and its present process.

    Args:
        work: the function that the process runs.
        role: the role of the process; None: it has no place on the scoreboard.
    """

    def __init__(
        self, name: str, work: Callable[["WorkerRecord", WorkerEnd], ExitCode], role: Role | None = None
    ) -> None:
        self.name = name
        self.work = work
        self.role = role
        self.process_id = 0
        self.channel: SupervisorEnd | None = None
        self.place: ProcessPlace | None = None
        self.started: dict[str, Any] | None = None
        self.failed: dict[str, Any] | None = None
        self.is_leaving = False
        #: Whether the process has requested a successor. It serves until the successor serves.
        self.wants_successor = False
        #: Whether the process has marked its registry records as draining. It removes them itself.
        self.has_retired = False
        self.code = 0
        self.began_at = 0.0
        self.restart_at: float | None = None
        self.failures = 0
        #: The instant at which the process is killed if it has not ended by then.
        self.kill_at: float | None = None
        #: The number of connections that were sent to the process.
        self.handed = 0

    @property
    def is_alive(self) -> bool:
        return self.process_id != 0

    @property
    def takes_connections(self) -> bool:
        """Whether the process may get connections now."""
        return self.channel is not None and self.started is not None and not self.is_leaving

    @property
    def connections(self) -> int:
        """The number of the process's connections, including sent connections that it has not received yet."""
        return 0 if self.place is None else self.place.connections(self.handed)

    def takes(self, index: int, connection: socket.socket) -> bool:
        """Send a connection to the worker. Return False if the worker cannot receive it now."""
        if (
            not self.takes_connections
            or self.channel is None
            or not self.channel.hand_over(index, connection)
        ):
            return False
        self.handed += 1
        return True


def start_failure(worker: WorkerRecord) -> Exception:
    """Return the error of a worker that ended before it ever served."""
    if worker.failed is not None:
        return values_to_failure(worker.failed)
    return RuntimeError(f"{worker.name} ended while it started: {ending(worker.code)}")


def ending(code: int) -> str:
    """Describe an exit code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
