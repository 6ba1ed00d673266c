"""`fastrpc run --control`, programs that take its place, and callers that never stop."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.program import Program
from tests.support.running_workers import PROGRAM

__all__ = ["Successors", "started"]


class Successors:
    """Programs in one folder, each of which may replace the one before.

    Args:
        arguments: the arguments of all programs, except the control socket.
    """

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        (folder / "work.py").write_text(PROGRAM)
        self.folder = folder
        self.control = folder / "control"
        self._arguments = ["-m", "fastrpc", "run", "work:Work", "--json", "--control", str(self.control)]
        self._arguments += arguments

    @contextlib.contextmanager
    def program(self, *more: str, environment: dict[str, str] | None = None) -> Iterator[Program]:
        """Start a program; with `--takeover` it takes the place of the last one."""
        with Program([*self._arguments, *more], self.folder, environment) as program:
            yield program


def started(program: Program) -> dict[str, Any]:
    """Return the address that a program prints once it serves."""
    values: dict[str, Any] = json.loads(program.wait_output(r"\{.*\}\n")[0])
    return values
