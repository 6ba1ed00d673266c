"""`fastrpc lan pass` and `fastrpc lan key`: the secrets of servers on the local network."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fastrpc.cli.printing import print_json, print_note, reported
from fastrpc.errors import ConfigError
from fastrpc.workers.plan import ExitCode

__all__ = ["key", "lan", "make_pass"]

IdAsJson = Annotated[bool, typer.Option("--json", help="Print the id as one line of JSON.")]


def _file_argument(text: str) -> Any:
    return typer.Argument(metavar="FILE", help=text)


lan = typer.Typer(no_args_is_help=True, help="Servers on the local network.", rich_markup_mode="markdown")


@lan.callback()
def _group() -> None:
    """Servers on the local network."""


@lan.command("pass", epilog="Example: fastrpc lan pass lan.pass")
def make_pass(
    file: Annotated[Path, _file_argument("The file, for `lan://?pass=…` and for TLS.")],
    present: Annotated[
        bool, typer.Option("--present", help="Make no pass: move the last one to the front.")
    ] = False,
    only: Annotated[bool, typer.Option("--only", help="Make no pass: remove all but the first.")] = False,
    as_json: IdAsJson = False,
) -> None:
    """Add a pass at the end of a file, which is made if it is missing.

    A pass consists of a key of announcements, a certificate with its key, and the authority that signed the
    certificate. Each machine of the network has a copy of the file.

    The first pass is presented, and all are accepted. To change passes without a gap: add one, copy the file to every
    machine, then do the same with `--present`, and at last with `--only`.
    """
    # Imported here: the help lists this command without it.
    from fastrpc.discovery.pass_making import add_pass, keep_first, present_last

    with reported(ExitCode.FAILED, as_json=as_json):
        if present and only:
            raise ConfigError(
                "--present and --only are two steps", hint="copy the file to every machine in between"
            )
        found = present_last(file) if present else keep_first(file) if only else add_pass(file)
    until = time.strftime("%Y-%m-%d", time.gmtime(found.period.end))
    done = "is presented" if present else "is the only pass" if only else "is added"
    _tell(file, found.id, f"{done}, it holds until {until}", as_json=as_json, until=until)


@lan.command("key", epilog="Example: fastrpc lan key lan.keys")
def key(
    file: Annotated[Path, _file_argument("The key file, for `lan://?key_file=…`.")],
    sign: Annotated[
        bool, typer.Option("--sign", help="Add no key: move the last one to the front, so that it signs.")
    ] = False,
    as_json: IdAsJson = False,
) -> None:
    """Add a key at the end of a file, which is made if it is missing.

    The first key signs, and all are accepted. To change keys without a gap: add one, copy the file to every machine,
    and only then let it sign everywhere with `--sign`.
    """
    # Imported here: the help lists this command without it.
    from fastrpc.registries.lan.keys import add_key, sign_with_last

    with reported(ExitCode.FAILED, as_json=as_json):
        name = sign_with_last(file) if sign else add_key(file)
    _tell(file, name, "signs" if sign else "is added", as_json=as_json)


def _tell(file: Path, secret_id: str, done: str, *, as_json: bool, **further: str) -> None:
    if as_json:
        print_json({"file": str(file), "id": secret_id, **further})
    else:
        print_note(f"{file}: {secret_id} {done}")
