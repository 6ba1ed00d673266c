"""The output for people: results on standard output, messages on standard error."""

import contextlib
import errno
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer

from fastrpc.cli.output import rich_text, shown, stderr, stdout
from fastrpc.client.credentials import TOKEN_HINT
from fastrpc.client.reach_errors import SETTING_HINT
from fastrpc.errors import ConfigError, ConnectError, DeadlineExceededError, FastRPCError
from fastrpc.escaping import printable, printable_json
from fastrpc.gateway.grpc_servers.details import shown_details
from fastrpc.status import Status
from fastrpc.types.base import ARRAY_EXTENSION
from fastrpc.workers.plan import ExitCode

__all__ = [
    "EscapedFormatter",
    "accept_every_character",
    "counted",
    "describe_error",
    "json_text",
    "line_of",
    "plain_value",
    "print_error",
    "print_json",
    "print_note",
    "print_value",
    "print_warning",
    "reported",
]

_CONNECT_HINT = "check the address, and that a server runs there: fastrpc run app:services --address …"
_TLS_OPTIONS = {"ca_file": "--ca", "cert_file": "--cert", "key_file": "--key", "server_name": "--server-name"}
_TLS_SETTING = re.compile(rf"\b({'|'.join(_TLS_OPTIONS)})\b")
_REFUSED_SETTING = re.compile(rf"\bTLS\.({'|'.join(_TLS_OPTIONS)})(?= is )")
_TOKEN_HINT = "show a token that the server knows: --token-file FILE, or FASTRPC_TOKEN in the environment"  # noqa: S105
_BUILT_IN = re.compile(r"(fastrpc\.[a-z_]+)\.[a-z_]+: ")
_TIMEOUT_HINT = "give it more time with --timeout, or find out what delays the server"

#: The separator of lines in a text that follows a label. It indents them, so that no line looks like a message of
#: fastrpc.
_CONTINUATION = "\n" + " " * len("error: ")


class EscapedFormatter(logging.Formatter):
    """Writes a log record and its traceback with control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        return printable(super().format(record), multiline=True)


def accept_every_character() -> None:
    """Escape characters that the encoding of standard output lacks, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def reported(code: ExitCode, *, as_json: bool = False) -> Iterator[None]:
    """Print an error of fastrpc or the system as cause and remedy, and end the command with `code`."""
    try:
        yield
    except BrokenPipeError:
        # The reader of the output has closed the pipe, and would not read a message either.
        raise
    except (FastRPCError, OSError) as error:
        cause, hint = describe_error(error)
        details = _details_of(error)
        if as_json:
            status = error.status.name if isinstance(error, FastRPCError) else None
            told = {"error": cause, "hint": hint, "kind": type(error).__name__, "status": status}
            print_json(told if details is None else told | {"details": details})
        else:
            print_error(cause, hint)
            if details is not None:
                stderr.print(("details: ", "bold"), json_text(details))
        # A wrong argument is a usage error, whenever it is detected.
        raise typer.Exit(ExitCode.USAGE if isinstance(error, ConfigError) else code) from None


def _details_of(error: BaseException) -> Any:
    """Return the details of an error as values; None without any."""
    return shown_details(error.details) if isinstance(error, FastRPCError) else None


def print_error(message: str, hint: str | None = None) -> None:
    """Print an error and its hint."""
    stderr.print(("error: ", "bold red"), _continued(message))
    if hint:
        stderr.print(("hint: ", "bold"), _continued(hint))


def print_warning(text: str) -> None:
    """Print a warning."""
    stderr.print(("warning: ", "bold yellow"), _continued(text))


def print_note(text: str) -> None:
    """Print a note that is not an error."""
    stderr.print(shown(text, "dim"))


def counted(count: int, what: str) -> str:
    """Return a count with its noun, in the plural unless the count is one."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def describe_error(error: BaseException) -> tuple[str, str | None]:
    """Return cause and remedy of an error as text, without its traceback."""
    if isinstance(error, FastRPCError):
        text = str(error).removesuffix(f" ({error.hint})") or type(error).__name__
        if isinstance(error, ConnectError):
            text = _REFUSED_SETTING.sub(_option_of, text)
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
    """Return a value as JSON on one line. Arrays become lists; a value that JSON lacks becomes its text in Python."""
    try:
        encoded = msgspec.json.encode(value, enc_hook=_printed)
    except (TypeError, ValueError, msgspec.MsgspecError):  # keys that JSON does not allow, lone surrogates
        encoded = msgspec.json.encode(repr(value))
    return printable_json(encoded.decode())


def _printed(value: Any) -> Any:
    """Return an array of numpy as a list; any other value as its text in Python."""
    if isinstance(value, msgspec.msgpack.Ext) and value.code == ARRAY_EXTENSION:
        with contextlib.suppress(ImportError, ValueError):
            from fastrpc.types.arrays import array_in

            return array_in(memoryview(value.data)).tolist()
    return repr(value)


def plain_value(value: bytes) -> dict[str, Any]:
    """Return stored bytes for a line of JSON: parsed JSON or else text as `value`, other bytes as `base64`.

    JSON that is nested too deeply is shown as text.
    """
    try:
        return {"value": msgspec.json.decode(value)}
    except (ValueError, RecursionError):
        try:
            return {"value": value.decode()}
        except ValueError:
            return {"base64": value}


def print_json(value: Any) -> None:
    """Print one line for machines."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def line_of(message: Any) -> str:
    """Return a message of a stream as one line of JSON; bytes that are UTF-8 are shown as text."""
    return printable(_text_of(message)) if isinstance(message, bytes) else json_text(message)


def print_value(value: Any) -> None:
    """Print an answer as JSON, coloured on a terminal; bytes that are text are printed as text."""
    if isinstance(value, bytes):
        stdout.print(printable(_text_of(value), multiline=True))
        return
    text = msgspec.json.format(json_text(value), indent=2)
    if stdout.is_styled:
        from rich.highlighter import JSONHighlighter

        stdout.draw(JSONHighlighter()(rich_text(text)))
    else:
        stdout.print(text)


def _text_of(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return repr(value)


def _continued(text: str) -> str:
    return printable(text, multiline=True).replace("\n", _CONTINUATION)


def _hint_of(error: FastRPCError) -> str | None:
    """Return the remedy in terms of the command line."""
    if isinstance(error, ConnectError):
        hint = error.hint or ""
        if hint == SETTING_HINT:
            return "correct this option"
        # The command line has no option for `Timeouts.connect`.
        is_usual = (
            not hint or "Timeouts.connect" in hint or ("a server run" in hint and "protocols" not in hint)
        )
        return _CONNECT_HINT if is_usual else _TLS_SETTING.sub(_option_of, hint)
    if isinstance(error, DeadlineExceededError) and error.processed != "no":
        return _TIMEOUT_HINT
    if error.status is Status.UNAUTHENTICATED:
        return _TOKEN_HINT if error.hint in (None, TOKEN_HINT) else error.hint
    if error.status is Status.PERMISSION_DENIED:
        return error.hint or _pattern_hint(error.message)
    return error.hint


def _pattern_hint(message: str) -> str | None:
    """Return how a policy can allow the built-in method that a refusal names; None for any other method."""
    found = _BUILT_IN.match(message)
    if found is None:
        return None
    return f'in a policy `**` leaves out fastrpc.*; this pattern allows it: allow = ["{found[1]}.*"]'


def _option_of(setting: re.Match[str]) -> str:
    """Return the option of the command line for a setting of `TLS`."""
    return _TLS_OPTIONS[setting[1]]


def _system_hint(error: OSError) -> str | None:
    if isinstance(error.filename, str):
        return _file_hint(error, Path(error.filename))
    for note in getattr(error, "__notes__", ()):
        if note.startswith("hint: "):
            return str(note).removeprefix("hint: ")
    return {
        errno.EADDRINUSE: "another program listens there; stop it, or give another --address",
        errno.EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 or 0.0.0.0 work anywhere",
        errno.EACCES: "it may not be used by this user; ports below 1024 need privileges",
        errno.ENOENT: "the directory does not exist",
        errno.ENOSPC: "the disk is full; make room, or write to another place",
    }.get(error.errno or 0)


def _file_hint(error: OSError, path: Path) -> str | None:
    if error.errno == errno.ENOENT:
        is_in_folder = path.parent.is_dir()
        return "check the path" if is_in_folder else f"the directory {path.parent} does not exist"
    return "this user may not use it" if error.errno == errno.EACCES else None
