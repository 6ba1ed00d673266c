"""What people see: answers on standard output, everything about them on standard error."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.json import JSON
from rich.text import Text

from fastrpc.errors import ConfigError, ConnectError, DeadlineExceededError, FastRPCError
from fastrpc.server.plan import ExitCode

__all__ = [
    "describe_error",
    "json_text",
    "print_error",
    "print_json",
    "print_note",
    "print_value",
    "reported",
    "stderr",
    "stdout",
]

_CONNECT_HINT = "check the address, and that a server runs there: fastrpc run app:services --address …"
_TIMEOUT_HINT = "give it more time with --timeout, or see what keeps the server"

#: Tables and answers. Words of a peer are never taken for markup.
stdout = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
stderr = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def reported(code: ExitCode, *, as_json: bool = False) -> Iterator[None]:
    """Print an error of ours or of the system as cause and fix, and end the command with `code`."""
    try:
        yield
    except (FastRPCError, OSError) as error:
        cause, hint = describe_error(error)
        if as_json:
            status = error.status.name if isinstance(error, FastRPCError) else None
            print_json({"error": cause, "hint": hint, "kind": type(error).__name__, "status": status})
        else:
            print_error(cause, hint)
        # What cannot be asked for is a matter of usage, whenever it shows.
        raise typer.Exit(ExitCode.USAGE if isinstance(error, ConfigError) else code) from None


def print_error(message: str, hint: str | None = None) -> None:
    """Say what went wrong, and what to do about it."""
    stderr.print(Text.assemble(("error: ", "bold red"), message))
    if hint:
        stderr.print(Text.assemble(("hint: ", "bold"), hint))


def print_note(text: str) -> None:
    """Say what may be of use, where nothing went wrong."""
    stderr.print(text, style="dim")


def describe_error(error: BaseException) -> tuple[str, str | None]:
    """Return cause and fix of an error in words, without its traceback."""
    if isinstance(error, FastRPCError):
        text = str(error).removesuffix(f" ({error.hint})") or type(error).__name__
        return text, _hint_of(error)
    if isinstance(error, OSError) and error.errno is not None:
        text = error.strerror or os.strerror(error.errno)
        return text if error.filename is None else f"{error.filename}: {text}", _system_hint(error)
    if isinstance(error, RuntimeError | OSError) and str(error):
        return str(error), None
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    return (f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text), None


def json_text(value: Any) -> str:
    """Return a value as JSON on one line; what JSON cannot say is written as Python does."""
    try:
        return msgspec.json.encode(value, enc_hook=repr).decode()
    except (TypeError, msgspec.MsgspecError):
        return msgspec.json.encode(repr(value)).decode()


def print_json(value: Any) -> None:
    """Print one line for machines."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def print_value(value: Any) -> None:
    """Print an answer: as JSON, coloured for a terminal; bytes that are text as text."""
    if isinstance(value, bytes):
        try:
            stdout.print(value.decode())
        except UnicodeDecodeError:
            stdout.print(repr(value))
        return
    stdout.print(JSON(json_text(value)))


def _hint_of(error: FastRPCError) -> str | None:
    """Return what to do about it in words of the command line."""
    if isinstance(error, ConnectError):
        return _CONNECT_HINT
    if isinstance(error, DeadlineExceededError) and error.processed != "no":
        return _TIMEOUT_HINT
    return error.hint


def _system_hint(error: OSError) -> str | None:
    return {
        errno.EADDRINUSE: "another program listens there; stop it, or give another --address",
        errno.EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 or 0.0.0.0 work anywhere",
        errno.EACCES: "it may not be used by this user; ports below 1024 need privileges",
        errno.ENOENT: "the directory does not exist",
    }.get(error.errno or 0)
