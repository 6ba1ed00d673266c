"""The table of commands, and their common exit codes and options."""

import importlib
import platform
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from fastrpc._version import __version__
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import accept_every_character, describe_error, print_error
from fastrpc.workers.plan import ExitCode

__all__ = ["application", "run_command_line"]


class _Command(NamedTuple):
    """The module of a command, and the text that is added to its docstring in the help."""

    module: str
    function: str
    example: str
    help: str | None = None
    #: Whether values may be negative numbers, which look like options.
    takes_values: bool = False
    #: Whether the command works but is not listed: a later version removes it.
    is_deprecated: bool = False


_COMMANDS = {
    "run": _Command("serving.command", "run", "run app:services --address tcp://0.0.0.0:8972 --workers 4"),
    "serve": _Command(
        "serving.command",
        "run",
        "run app:services --address tcp://0.0.0.0:8972",
        help="The old name of run. A later version removes it.",
        is_deprecated=True,
    ),
    "dev": _Command("serving.command", "dev", "dev app:services"),
    "call": _Command(
        "calling.command", "call", "call tcp://127.0.0.1:8972 arith.mul 6 b=7", takes_values=True
    ),
    "list": _Command("listing", "list_services", "list tcp://127.0.0.1:8972"),
    "health": _Command("checking", "health", "health tcp://127.0.0.1:8972 arith"),
    "bench": _Command(
        "benchmark.command", "bench", "bench tcp://127.0.0.1:8972 arith.mul 6 7 -c 64 -d 5", takes_values=True
    ),
    "get": _Command("copying", "get", "get tcp://127.0.0.1:8972 reports/may.csv"),
    "put": _Command("copying", "put", "put tcp://127.0.0.1:8972 may.csv reports/may.csv"),
    "contract": _Command(
        "contracts.command", "contract", "contract --check tcp://127.0.0.1:8972 app:services"
    ),
    "proto": _Command("contracts.proto", "proto", "proto app:services -o shop.proto"),
    "registry": _Command(
        "registering", "registry", "registry --address tcp://0.0.0.0:8970 --data-dir /var/lib/fastrpc"
    ),
    "store": _Command("stores.storing", "store", "store --data-dir /var/lib/fastrpc-store"),
    "kv": _Command("stores.keys", "kv", "kv get store://127.0.0.1:8969 shop/limits"),
    "broker": _Command("brokers.hosting", "broker", "broker --data-dir /var/lib/fastrpc-broker"),
    "topics": _Command("brokers.topics", "topics", "topics broker://127.0.0.1:8971"),
    "publish": _Command(
        "brokers.messages",
        "publish",
        "publish broker://127.0.0.1:8971 orders.new '{\"id\": 17}'",
        takes_values=True,
    ),
    "subscribe": _Command(
        "brokers.messages", "subscribe", "subscribe broker://127.0.0.1:8971 'orders.**' --group audit"
    ),
    "dead": _Command("brokers.dead", "dead", "dead broker://127.0.0.1:8971 list billing.bill"),
    "gateway": _Command(
        "gateway.command",
        "gateway",
        "gateway --registry registry://127.0.0.1:8970 --address http://0.0.0.0:8080",
    ),
    "console": _Command("console.command", "console", "console --registry registry://127.0.0.1:8970"),
    "relay": _Command(
        "relaying",
        "relay",
        "relay --name relay.example --tokens tokens.toml --tls-cert relay.pem --tls-key relay.key",
    ),
    "policy": _Command("policies", "policy", "policy check policy.toml app:services"),
    "certs": _Command("certificates", "certs", "certs dev certs --name localhost"),
    "lock": _Command("locking", "lock", "lock store://127.0.0.1:8969 jobs/nightly --wait 60 -- ./nightly.sh"),
    "elect": _Command("locking", "elect", "elect store://127.0.0.1:8969 shop -- ./leader.sh"),
    "leader": _Command("locking", "leader", "leader store://127.0.0.1:8969 shop"),
    "lan": _Command("lan", "lan", "lan pass lan.pass"),
}

#: The mode `markdown` joins the lines of a paragraph.
_STYLE: dict[str, Any] = {"rich_markup_mode": "markdown", "pretty_exceptions_enable": False}


class _Commands(TyperGroup):
    """The group of commands: loads the module of a command when it runs, and all modules to list the commands."""

    def list_commands(self, context: Any) -> list[str]:
        return [name for name, command in _COMMANDS.items() if not command.is_deprecated]

    def get_command(self, context: Any, name: str) -> Any:
        # For an unknown name typer suggests a similar command. It needs all commands for that.
        for known in [name] if name in _COMMANDS else _COMMANDS:
            if known not in self.commands:
                self.add_command(_load(known), known)
        return super().get_command(context, name)


def _load(name: str) -> Any:
    command = _COMMANDS[name]
    function = getattr(importlib.import_module(f"fastrpc.cli.{command.module}"), command.function)
    if isinstance(function, typer.Typer):
        # A group of commands is listed in the help under the name of the group.
        group = typer.main.get_command(function)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, **_STYLE)
    alone.command(
        name,
        help=command.help,
        epilog=f"Example: fastrpc {command.example}",
        context_settings={"ignore_unknown_options": True} if command.takes_values else {},
    )(function)
    return typer.main.get_command(alone)


application = typer.Typer(
    name="fastrpc",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    **_STYLE,
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
        # The reader of the output closed the pipe; the flush at exit must not write to it either.
        sys.stdout = None
        return ExitCode.FAILED
    except Exception as error:
        cause, hint = describe_error(error)
        if hint is None and not isinstance(error, OSError):
            hint = "this is a defect of fastrpc; please report it"
        print_error(cause, hint)
        _give_up_full_output()
        return ExitCode.FAILED
    return ExitCode.DONE


def _give_up_full_output() -> None:
    """Discard output that a full or closed stream refuses: otherwise the flush at exit changes the exit code."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        sys.stdout = None


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
