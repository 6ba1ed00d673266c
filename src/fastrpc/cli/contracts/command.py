"""`fastrpc contract`: write the contract of a server or a module, or compare two versions."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fastrpc.cli.calling.command import Timeout
from fastrpc.cli.contracts.check import ContractChange, changes
from fastrpc.cli.contracts.message_changes import message_changes
from fastrpc.cli.contracts.protos.reading import has_descriptors, read_proto_contract
from fastrpc.cli.contracts.source import read_contracts
from fastrpc.cli.contracts.text import WrittenContract, written_contract
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import shown, stdout
from fastrpc.cli.printing import print_json, print_note, print_warning, reported
from fastrpc.errors import ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.rpc.described_services import ServiceDescription
from fastrpc.workers.plan import ExitCode

__all__ = ["NOT_COMPARED", "contract"]

#: The parts of a description that `--check` does not compare, in text and in JSON output.
NOT_COMPARED = ("checks in code, such as validators", "classes with a custom encoding")


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE…",
        help="A server's address, module:name, or a file: .proto, .py as this command writes it, .json as --json does.",
    ),
]
Folders = Annotated[
    list[Path] | None,
    typer.Option(
        "-I", metavar="FOLDER", help="Where the imports of a .proto file are; several may be given."
    ),
]


def contract(
    sources: Sources,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare two sources, OLD NEW; end with 1 if callers of OLD break."),
    ] = False,
    grpc: Annotated[bool, typer.Option("--grpc", help="With --check: for callers by gRPC, too.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Write `def` methods, for SyncClient.bind.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 1 if the contract is not all that the source is.")
    ] = False,
    folders: Folders = None,
    timeout: Timeout = 5.0,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the description, or the changes, as one line of JSON.")
    ] = False,
) -> None:
    """Print the contract class that callers of a server or module need, or check a new version against an old one.

    A .proto file and a gRPC server with reflection (grpc://host:port) give the class with their messages. A type or
    default that cannot be written is named in a warning. A .py file is executed, like `module:name`. A change is
    compatible if programs with the old class keep working with a server of the new one; docs/guide/contracts.md has the
    rules.
    """
    with reported(ExitCode.USAGE, as_json=as_json):
        _check_options(len(sources), check=check, grpc=grpc, sync=sync, strict=strict, as_json=as_json)
        _check_folders(sources, folders or ())
        dial = dialing(ca, cert, key, server_name, token_file)
    with reported(ExitCode.FAILED, as_json=as_json):
        if check or as_json:
            found = [read_contracts(source, timeout, dial, folders or ()) for source in sources]
        else:
            written = _written(sources[0], timeout, dial, folders or (), is_sync=sync)
    _note_caller(sources if dial.shows_identity else [])
    if check:
        _report(_changes(*found, as_json=as_json, grpc=grpc), as_json=as_json)
    elif as_json:
        print_json(msgspec.to_builtins(found[0]))
    else:
        _print(written, strict=strict)


def _check_options(count: int, *, check: bool, grpc: bool, sync: bool, strict: bool, as_json: bool) -> None:
    if count != 1 + check:
        wanted = "--check takes two sources: OLD NEW" if check else "give one source, or --check OLD NEW"
        raise ConfigError(f"{count} sources are given", hint=wanted)
    if grpc and not check:
        raise ConfigError(
            "--grpc has no effect without --check", hint="give two sources: --check --grpc OLD NEW"
        )
    if check and sync:
        raise ConfigError("--sync has no effect with --check", hint="leave one of the two out")
    if strict and (check or as_json):
        other = "--check" if check else "--json"
        raise ConfigError(f"--strict has no effect with {other}", hint="leave one of the two out")


def _check_folders(sources: Sequence[str], folders: Sequence[Path]) -> None:
    if folders and not any(source.endswith(".proto") for source in sources):
        raise ConfigError(
            "-I has no effect without a .proto file", hint="leave it out, or give the file as SOURCE"
        )


def _note_caller(sources: list[str]) -> None:
    for source in sources:
        if "://" in source:
            print_note(f"note: {source} lists only the methods that this caller may call")


def _written(
    source: str, timeout: float, dial: Dialing, folders: Sequence[Path], *, is_sync: bool
) -> WrittenContract:
    if has_descriptors(source):
        return read_proto_contract(source, timeout, dial, folders, is_sync=is_sync)
    return written_contract(read_contracts(source, timeout, dial), is_sync=is_sync)


def _print(written: WrittenContract, *, strict: bool) -> None:
    # Source is printed without wrapping or colour.
    sys.stdout.write(written.text)
    for text in written.warnings:
        print_warning(text)
    if strict and written.warnings:
        raise typer.Exit(ExitCode.FAILED)


def _changes(
    old: list[ServiceDescription], new: list[ServiceDescription], *, as_json: bool, grpc: bool
) -> list[ContractChange]:
    """Return the changes; exit if a module with protobuf messages is missing."""
    with reported(ExitCode.FAILED, as_json=as_json):
        return [*changes(old, new), *(message_changes(old, new) if grpc else ())]


def _report(found: Sequence[ContractChange], *, as_json: bool) -> None:
    is_compatible = all(change.is_compatible for change in found)
    if as_json:
        listed = [change._asdict() for change in found]
        print_json({"compatible": is_compatible, "changes": listed, "not_compared": list(NOT_COMPARED)})
    else:
        for change in sorted(found, key=lambda one: one.is_compatible):
            mark = ("compatible   ", "green") if change.is_compatible else ("incompatible ", "bold red")
            stdout.print(mark, shown(f"{change.where}: {change.text}"))
        if not found:
            stdout.print("no changes in the compared parts")
        stdout.print(f"not compared: {', '.join(NOT_COMPARED)}")
    if not is_compatible:
        raise typer.Exit(ExitCode.FAILED)
