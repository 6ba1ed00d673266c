"""`fastrpc get` and `fastrpc put`: copy a file from a file service, or to one."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastrpc.cli.calling.command import Address, AsJson, run_async
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import shown, stderr, stdout
from fastrpc.cli.printing import print_json, print_note, reported
from fastrpc.client.client import Client
from fastrpc.errors import CallError, ConfigError
from fastrpc.escaping import printable
from fastrpc.gateway.dialing import Dialing
from fastrpc.registries.base.urls import target_for
from fastrpc.status import Status
from fastrpc.workers.plan import ExitCode

if TYPE_CHECKING:
    from fastrpc.files import FileDigest

__all__ = ["get", "put"]

Service = Annotated[
    str, typer.Option("--service", "-s", metavar="NAME", help="The file service, if it is not called files.")
]
NoResume = Annotated[
    bool, typer.Option("--no-resume", help="Begin anew, even if an earlier attempt left a part.")
]

#: A function that shows the bytes copied so far, and the size of the whole file.
Show = Callable[[int, int], None]


def get(
    address: Address,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The file there.")],
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="The file or folder here; the folder you are in.")
    ] = None,
    service: Service = "files",
    no_resume: NoResume = False,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Copy a file from a server to this machine; an interrupted copy is resumed."""
    with reported(ExitCode.USAGE):
        target = _inside(path or Path(), name.rpartition("/")[2])
        client = _client(address, service, dialing(ca, cert, key, server_name, token_file))

    async def copy(show: Show | None) -> "FileDigest":
        from fastrpc.files import download

        async with client:
            return await download(client, name, target, service=service, progress=show, resume=not no_resume)

    _run(copy, name, str(target), service, as_json=as_json)


def put(
    address: Address,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file here.")],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The file there; the same name without folders.")
    ] = None,
    service: Service = "files",
    no_resume: NoResume = False,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Copy a file from this machine to a server; an interrupted copy is resumed."""
    there = name or path.name
    with reported(ExitCode.USAGE):
        if not path.is_file():
            raise ConfigError(f"{path} is not a file", hint="give the path of a file on this machine")
        client = _client(address, service, dialing(ca, cert, key, server_name, token_file))

    async def copy(show: Show | None) -> "FileDigest":
        from fastrpc.files import upload

        async with client:
            return await upload(client, path, there, service=service, progress=show, resume=not no_resume)

    _run(copy, str(path), there, service, as_json=as_json)


def _client(address: str, service: str, dial: Dialing) -> Client:
    from fastrpc.files.service import service_named

    service_named(service)
    return dial.client(target_for(address, service))


def _inside(path: Path, name: str) -> Path:
    """Return the file to write; if `path` is a folder, the file of this name in it."""
    if not path.is_dir():
        return path
    if name in {"", ".", ".."} or "\0" in name:
        raise ConfigError(f"{name!r} is not the name of a file", hint="give PATH, the file to write")
    return path / name


def _run(
    copy: Callable[[Show | None], Coroutine[Any, Any, "FileDigest"]],
    source: str,
    target: str,
    service: str,
    *,
    as_json: bool,
) -> None:
    began = time.perf_counter()
    with (
        reported(ExitCode.FAILED, as_json=as_json),
        _explained(service),
        _progress(source, visible=not as_json) as show,
    ):
        digest = run_async(copy(show))
    seconds = time.perf_counter() - began
    if as_json:
        answer = {"source": source, "target": target, "size": digest.size, "sha256": digest.sha256}
        print_json(answer | {"seconds": seconds})
        return
    stdout.print(shown(f"{digest.sha256}  {target}"))
    print_note(f"{digest.size:,} bytes in {seconds:.2f} s")


@contextlib.contextmanager
def _progress(source: str, *, visible: bool) -> Iterator[Show | None]:
    """Show a bar while the block runs, on a terminal."""
    if not visible or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr.console, transient=True) as progress:
        bar = progress.add_task(printable(os.path.basename(source)), total=None)

        def show(done: int, total: int) -> None:
            if progress.tasks[bar].total is None:
                # The part that an earlier attempt copied must not count towards the shown speed.
                progress.reset(bar, total=total, completed=done)
            progress.update(bar, completed=done)

        yield show


@contextlib.contextmanager
def _explained(service: str) -> Iterator[None]:
    """Add hints with options of the command line to errors raised in the block."""
    try:
        yield
    except CallError as error:
        if error.status is Status.UNIMPLEMENTED and not error.hint:
            error.hint = f"the server has no file service {service!r}; --service names another one"
        raise
