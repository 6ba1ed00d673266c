"""The entry point: load the command line, and turn every failure into a message and an exit code."""

import os
import sys
from typing import NoReturn

from fastrpc.workers.plan import ExitCode

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line and end the program."""
    _open_standard_streams()
    try:
        sys.exit(_load_and_run())
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def _open_standard_streams() -> None:
    """Open /dev/null for each standard stream that is closed; otherwise a socket would get its descriptor.

    libuv aborts the program if one of the three is closed.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The system assigns the lowest free number.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _load_and_run() -> int:
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        print(  # noqa: T201
            f"error: the command line needs {error.name}, which is not installed\n"
            "hint: pip install 'fastrpc[cli]'",
            file=sys.stderr,
        )
        return ExitCode.NOT_STARTED
    from fastrpc.cli.application import run_command_line

    return run_command_line()
