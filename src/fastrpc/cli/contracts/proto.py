"""`fastrpc proto`: write the .proto file of services, or compare it with an existing file."""

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fastrpc.cli.contracts.source import definitions_in
from fastrpc.cli.printing import describe_error, print_error, reported
from fastrpc.errors import ConfigError
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.protobuf.packages import ProtoPackage, packages_of
from fastrpc.rpc.protobuf.text import proto_text
from fastrpc.rpc.service import BUILTIN_PREFIX
from fastrpc.workers.plan import ExitCode

__all__ = ["proto"]


def proto(
    services: Annotated[
        list[str], typer.Argument(metavar="MODULE:NAME…", help="The services, such as app:services.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write this file; else print it.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE", help="End with 1 and the difference if FILE is another."),
    ] = None,
) -> None:
    """Write the .proto file from which callers in other languages generate their code.

    The text is the same each time. If a type has no form in protobuf, the command ends with 1 and names the type with a
    remedy. Functions that make services are run, classes are not.
    """
    with reported(ExitCode.USAGE):
        if output is not None and check is not None:
            raise ConfigError("--output has no effect with --check", hint="leave one of the two out")
        package = _package_of(_definitions(services))
    for error in package.failures:
        print_error(*describe_error(error))
    if package.failures:
        raise typer.Exit(ExitCode.FAILED)
    with reported(ExitCode.FAILED):
        text = proto_text(package)
        if output is not None:
            output.write_text(text, encoding="utf-8")
        elif check is not None:
            _compare(check, text)
        else:
            sys.stdout.write(text)


def _definitions(services: Iterable[str]) -> list[ServiceDefinition]:
    """Return the services of these names, each once, except fastrpc's services and services of generated code."""
    found = dict.fromkeys(one for text in services for one in definitions_in(text))
    own = [
        one
        for one in found
        if not one.name.startswith(BUILTIN_PREFIX)
        and all(method.given_coders is None for method in one.methods.values())
    ]
    if not own:
        raise ConfigError(
            f"{', '.join(services)} has no service of classes of Python",
            hint="give a class under @service, or a list of them",
        )
    return own


def _package_of(services: Iterable[ServiceDefinition]) -> ProtoPackage:
    found = packages_of(services)
    if len(found) > 1:
        names = ", ".join(repr(package.name) for package in found)
        raise ConfigError(
            f"these services are in {len(found)} packages, and a .proto file has one: {names}",
            hint="give one command for the services of each package",
        )
    return found[0]


def _compare(file: Path, text: str) -> None:
    old = file.read_text(encoding="utf-8") if file.exists() else ""
    if old == text:
        return
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), text.splitlines(keepends=True), str(file), "now"
    )
    sys.stdout.writelines(lines)
    raise typer.Exit(ExitCode.FAILED)
