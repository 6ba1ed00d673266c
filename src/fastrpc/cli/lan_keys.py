"""`fastrpc lan key`: the file of keys that sign announcements on the local network."""

from pathlib import Path
from typing import Annotated

import typer

from fastrpc.cli.printing import print_json, print_note, reported
from fastrpc.workers.plan import ExitCode

__all__ = ["key", "lan"]

lan = typer.Typer(no_args_is_help=True, help="Servers on the local network.", rich_markup_mode="markdown")


@lan.callback()
def _group() -> None:
    """Servers on the local network."""


@lan.command("key", epilog="Example: fastrpc lan key lan.keys")
def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The key file, for `lan://?key_file=…`.")],
    sign: Annotated[
        bool, typer.Option("--sign", help="Add no key: move the last one to the front, so that it signs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the id as one line of JSON.")] = False,
) -> None:
    """Add a key at the end of a file, which is made if it is not there.

    The first key signs, all are accepted. To change keys without a gap: add one, copy the file to every machine, and
    only then let it sign everywhere with `--sign`.
    """
    # Imported here: the help lists this command without it.
    from fastrpc.registries.lan.keys import add_key, sign_with_last

    with reported(ExitCode.FAILED, as_json=as_json):
        name = sign_with_last(file) if sign else add_key(file)
    if as_json:
        print_json({"file": str(file), "id": name})
    else:
        print_note(f"{file}: {name} {'signs' if sign else 'is added'}")
