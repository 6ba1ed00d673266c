"""The source of a module with the contract of some files."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastrpc.cli.contracts.protos.classes import TypeWriter
from fastrpc.cli.contracts.protos.files import ProtoFiles
from fastrpc.cli.contracts.protos.layout import WIDTH, Group, docstring, statement
from fastrpc.cli.contracts.protos.lost import Lost, is_group
from fastrpc.cli.contracts.protos.naming import Naming
from fastrpc.cli.contracts.protos.services import ServiceWriter
from fastrpc.cli.contracts.protos.types import is_entry
from fastrpc.cli.contracts.text import WrittenContract
from fastrpc.rpc.protobuf.field import KNOWN_KINDS

__all__ = ["written_module"]


def written_module(files: ProtoFiles, source: str, *, is_sync: bool = False) -> WrittenContract:
    """Return the source of the contract of the main files, and the parts that it cannot express.

    Args:
        source: the name of the file or the server in the source.
        is_sync: whether to write `def` methods, for `SyncClient.bind`.
    """
    descriptors = files.descriptors()
    mains = [file for file in descriptors if file.name in files.main]
    used = _used(mains)
    types = [one for file in descriptors for one in _types_of(file) if one.full_name in used]
    services = [service for file in mains for service in file.services_by_name.values()]
    naming, lost = Naming(types, services), Lost(files)
    classes, contracts = TypeWriter(files, naming, lost), ServiceWriter(files, naming, lost, is_sync=is_sync)
    above = [line for file in mains for line in _above(file, files, lost)]
    parts = [classes.enum(one) for one in types if hasattr(one, "values")]
    parts += [classes.message(one) for one in types if not hasattr(one, "values")]
    parts += [contracts.service(one) for one in services]
    if aliases := naming.aliases():
        parts.append(aliases)
    head = docstring(f"Written by `fastrpc contract` from {source}.", 0)
    head += ["", "from __future__ import annotations", "", *_imports(naming)]
    # A file without services gets a module, too, with its messages.
    parts = [head if not above else [*head, "", *above], *parts]
    return WrittenContract(
        "\n\n\n".join("\n".join(lines).strip("\n") for lines in parts) + "\n", lost.warnings
    )


def _types_of(file: Any) -> list[Any]:
    return [*file.enum_types_by_name.values(), *file.message_types_by_name.values()]


def _used(files: Iterable[Any]) -> set[str]:
    """Return the full names of the top-level messages and enums that some files define or use."""
    found: set[str] = set()
    waiting: list[Any] = [one for file in files for one in _types_of(file)]
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                waiting += _of_method(method)
    while waiting:
        one = waiting.pop()
        while one.containing_type is not None:
            one = one.containing_type
        if one.full_name in found:
            continue
        found.add(one.full_name)
        if not hasattr(one, "values"):
            waiting += _held(one)
    return found


def _of_method(method: Any) -> Iterator[Any]:
    if method.input_type.full_name not in KNOWN_KINDS:
        yield method.input_type
    is_none = method.output_type.full_name == "google.protobuf.Empty" and not method.server_streaming
    if method.output_type.full_name not in KNOWN_KINDS and not is_none:
        yield method.output_type


def _held(message: Any) -> Iterator[Any]:
    for field in message.fields:
        if is_group(field):
            continue
        if is_entry(field.message_type):
            yield from _held(field.message_type)
        elif field.message_type is not None:
            if field.message_type.full_name not in KNOWN_KINDS:
                yield field.message_type
        elif field.enum_type is not None:
            yield field.enum_type
    for one in message.nested_types:
        if not is_entry(one):
            yield from _held(one)


def _above(file: Any, files: ProtoFiles, lost: Lost) -> list[str]:
    """Return comments on a file: options and extensions outside of messages."""
    lines = lost.options(file.name, files.protos[file.name].options, 0)
    return lines + [line for one in file.extensions_by_name.values() for line in lost.extension(one, 0)]


def _imports(naming: Naming) -> list[str]:
    found = naming.imported.by_module()
    parts = [
        [
            line
            for module, names in found
            if (module.partition(".")[0] == "fastrpc") is is_ours
            for line in _import(module, names)
        ]
        for is_ours in (False, True)
    ]
    return [
        line for number, lines in enumerate(filter(None, parts)) for line in ([""] if number else []) + lines
    ]


def _import(module: str, names: Sequence[str]) -> list[str]:
    plain = [name for name in names if " as " not in name]
    found = {name: [f"from {module} import {name}"] for name in names if " as " in name}
    if plain:
        line = f"from {module} import {', '.join(plain)}"
        wide = statement(0, f"from {module} import ", Group("(", plain, ")"))
        found[plain[0]] = [line] if len(line) <= WIDTH else wide
    return [line for name in sorted(found) for line in found[name]]
