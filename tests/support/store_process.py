"""A store in a separate process, which tests stop, kill and start again at its address."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support.ports import free_address
from tests.support.program import Program

__all__ = ["StoreProcess"]


class StoreProcess:
    """`fastrpc store`, with its items in a folder.

    Args:
        command: a program in place of `fastrpc store`, with the same options.
    """

    def __init__(self, folder: Path, *, command: Sequence[str] = ("-m", "fastrpc", "store")) -> None:
        self.folder = folder
        self.address = free_address()
        self._command = command
        self._program: Program | None = None

    @property
    def url(self) -> str:
        return self.address.replace("tcp://", "store://")

    def start(self) -> None:
        """Start it, and return once it answers."""
        options = [
            "--address",
            self.address,
            "--data-dir",
            str(self.folder / "store"),
            "--log-level",
            "error",
        ]
        self._program = Program([*self._command, *options], self.folder).__enter__()
        self._program.wait_output("store://")

    def kill(self) -> None:
        """End it without a word; killing it twice is fine."""
        program, self._program = self._program, None
        if program is not None:
            program.__exit__(None, None, None)

    def signal(self, number: int) -> None:
        """Send a signal."""
        if self._program is not None:
            self._program.signal(number)

    @contextmanager
    def running(self) -> Iterator[Self]:
        self.start()
        try:
            yield self
        finally:
            # A stopped process is killed as well.
            self.kill()
