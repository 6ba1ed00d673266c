"""The entry point: load the command line, and turn every failure into a message and an exit code."""

import sys
from typing import NoReturn

from fastrpc.workers.plan import ExitCode

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; ends the program."""
    try:
        sys.exit(_load_and_run())
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


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
