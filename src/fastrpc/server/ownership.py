"""The process and the loop to which a server belongs, from its first start on."""

import asyncio
import os

from fastrpc._core.loop.loop_state import no_loop, wrong_loop

__all__ = ["Ownership"]


class Ownership:
    """Detects a server that is used in another process or on another loop than the one it was started on."""

    def __init__(self) -> None:
        # That of the last start; 0 before the first one.
        self._process_id = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self) -> None:
        """Belong to this process and to the running loop."""
        self._process_id, self._loop = os.getpid(), asyncio.get_running_loop()

    @property
    def is_of_this_process(self) -> bool:
        """Whether the server was started in this process."""
        return self._process_id == os.getpid()

    @property
    def is_of_parent(self) -> bool:
        """Whether the server was started before a fork: sockets and loop belong to the parent."""
        return self._process_id not in (0, os.getpid())

    def check_process(self) -> None:
        """Raise RuntimeError after a fork."""
        if self.is_of_parent:
            raise RuntimeError("this Server was used before the fork; create it in the child")

    def check_use(self, *, is_started: bool) -> None:
        """Raise RuntimeError without a running loop, after a fork, and on another loop than that of the start."""
        if asyncio._get_running_loop() is None:
            raise no_loop("Server")
        self.check_process()
        if is_started and self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise wrong_loop("Server", self._loop, asyncio.get_running_loop())
