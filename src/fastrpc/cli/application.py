"""The table of commands, and their common exit codes and options."""

import platform
import sys
from typing import Annotated

import typer

from fastrpc._version import __version__
from fastrpc.cli.benchmark import bench
from fastrpc.cli.calling import call
from fastrpc.cli.checking import health
from fastrpc.cli.contracting import contract
from fastrpc.cli.copying import get, put
from fastrpc.cli.listing import list_services
from fastrpc.cli.printing import accept_every_character, describe_error, print_error, stdout
from fastrpc.cli.registering import registry
from fastrpc.cli.serving import dev, run
from fastrpc.server.plan import ExitCode

__all__ = ["application", "run_command_line"]

#: Values may be negative numbers, which look like options.
_VALUES = {"ignore_unknown_options": True}

application = typer.Typer(
    name="fastrpc",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run_command_line() -> int:
    """Run the command line and return its exit code."""
    accept_every_character()
    try:
        application(prog_name="fastrpc")
    except SystemExit as end:
        return (
            end.code if isinstance(end.code, int) else ExitCode.DONE if end.code is None else ExitCode.FAILED
        )
    except BrokenPipeError:
        # The reader of our output closed the pipe; the flush at exit must not write to it either.
        sys.stdout = None
        return ExitCode.FAILED
    except Exception as error:
        cause, hint = describe_error(error)
        print_error(cause, hint or "this is a defect of fastrpc; please report it")
        return ExitCode.FAILED
    return ExitCode.DONE


def _print_version(value: bool) -> None:
    if value:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        stdout.print(f"fastrpc {__version__} ({python})")
        raise typer.Exit


@application.callback(epilog="Example: fastrpc run app:services")
def fastrpc(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Serve and call remote methods.

    Exit codes: 0 done, 1 the call or check failed, 2 usage, 3 start-up or bind, 4 the drain timed out, 130 interrupted.
    """


application.command(
    "run", epilog="Example: fastrpc run app:services --address tcp://0.0.0.0:8972 --workers 4"
)(run)
application.command(
    "serve",
    help="The same as run.",
    epilog="Example: fastrpc serve app:services --address tcp://0.0.0.0:8972",
)(run)
application.command("dev", epilog="Example: fastrpc dev app:services")(dev)
application.command(
    "call", context_settings=_VALUES, epilog="Example: fastrpc call tcp://127.0.0.1:8972 arith.mul 6 b=7"
)(call)
application.command("list", epilog="Example: fastrpc list tcp://127.0.0.1:8972")(list_services)
application.command("health", epilog="Example: fastrpc health tcp://127.0.0.1:8972 arith")(health)
application.command(
    "bench",
    context_settings=_VALUES,
    epilog="Example: fastrpc bench tcp://127.0.0.1:8972 arith.mul 6 7 -c 64 -d 5",
)(bench)
application.command("get", epilog="Example: fastrpc get tcp://127.0.0.1:8972 reports/may.csv")(get)
application.command("put", epilog="Example: fastrpc put tcp://127.0.0.1:8972 may.csv reports/may.csv")(put)
application.command("contract", epilog="Example: fastrpc contract --check tcp://127.0.0.1:8972 app:services")(
    contract
)
application.command(
    "registry", epilog="Example: fastrpc registry --address tcp://0.0.0.0:8970 --data-dir /var/lib/fastrpc"
)(registry)
