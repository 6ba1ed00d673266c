"""The log and the errors of a command that serves; if standard error is a log of JSON, errors are records."""

import logging
from collections.abc import Callable, Sequence

import typer

from fastrpc.cli.log_output import install_logging
from fastrpc.cli.output import stderr
from fastrpc.cli.printing import describe_error, print_error
from fastrpc.cli.settings import RunSettings
from fastrpc.errors import ConfigError
from fastrpc.workers.plan import ExitCode, NothingToServeError, Plan

__all__ = ["log_as_set", "print_failure", "run_reported"]

logger = logging.getLogger("fastrpc.server")


def run_reported(
    serve: Callable[[], ExitCode], settings: RunSettings, served: Callable[[], Plan] | None = None
) -> ExitCode:
    """Serve, and report an abnormal end.

    Args:
        served: returns the plan in effect, which includes the settings of the App.
    """
    try:
        code = serve()
    except typer.Exit:
        raise  # The error is already reported.
    except Exception as error:
        # Many conflicts between settings are detected only at the start.
        named = settings.places.named(error) if isinstance(error, ConfigError) else None
        is_usage = named is not None or isinstance(error, NothingToServeError)
        cause, hint = describe_error(named or error)
        _print_error(settings, cause, hint if is_usage else hint or _trace_hint(settings))
        if settings.log_level == "debug":
            logger.debug("it could not start", exc_info=error)
        return ExitCode.USAGE if is_usage else ExitCode.NOT_STARTED
    if code is ExitCode.DRAIN_TIMED_OUT:
        seconds = (settings if served is None else served()).config.timeouts.drain
        _print_error(
            settings,
            f"calls were cancelled: they were still running {seconds} s after the drain began",
            "raise drain in [timeouts] (FASTRPC_TIMEOUTS_DRAIN), or in the config of the App",
        )
    return code


def print_failure(error: Exception) -> None:
    cause, hint = describe_error(error)
    print_error(cause, hint)
    stderr.print("waiting for a change", style="dim")


def log_as_set(settings: RunSettings, warnings: Sequence[str] = ()) -> None:
    """Install the logging of the command, and print warnings about its settings."""
    install_logging(
        settings.log_level, is_demanded=settings.log_level_is_demanded, log_format=settings.log_format
    )
    for warning in warnings:
        _warn(settings, warning)


def _warn(settings: RunSettings, text: str) -> None:
    """Print a warning; if standard error is a log of JSON, log a record."""
    if settings.log_format == "json":
        logger.warning("%s", text)
    else:
        stderr.print(("warning: ", "yellow"), text)


def _print_error(settings: RunSettings, cause: str, hint: str | None) -> None:
    """Print an error; if standard error is a log of JSON, log a record."""
    if settings.log_format == "json":
        logger.error("%s", cause, extra={"hint": hint})
    else:
        print_error(cause, hint)


def _trace_hint(settings: RunSettings) -> str | None:
    return None if settings.log_level == "debug" else "--log-level debug shows the whole traceback"
