"""Contracts of .proto files with every construct: their source, the schema that comes back, messages on the wire."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import message_factory

from fastrpc._core.payload.marshal import Marshal
from fastrpc.cli.contracts.protos.compiling import compiled
from fastrpc.rpc.protobuf.derivation import is_message_class
from fastrpc.rpc.protobuf.marshals import message_marshal
from fastrpc.rpc.protobuf.text import proto_text
from tests.support.filled_messages import filled_messages
from tests.support.proto_contracts import FILES, FOLDER, contract_of, whole_package

#: What each module says that it lacks; the other modules lack nothing.
LOST = {
    "editions.proto": [
        "editions.v1.Shut: its values have no 0, and fastrpc proto writes one",
        "editions.v1.Featured.delimited: the group delimited = 6",
        "editions.v1.Featured.needed: required",
    ],
    "options.proto": [
        'options.proto: option (options.v1.file_note) = "of the file"',
        "options.v1.file_note: extend google.protobuf.FileOptions { file_note = 50001 }",
        "options.v1.details: extend google.protobuf.MessageOptions { details = 50002 }",
        "options.v1.ranks: extend google.protobuf.FieldOptions { ranks = 50003 }",
        "options.v1.is_closed: extend google.protobuf.EnumOptions { is_closed = 50004 }",
        "options.v1.value_note: extend google.protobuf.EnumValueOptions { value_note = 50005 }",
        "options.v1.oneof_note: extend google.protobuf.OneofOptions { oneof_note = 50006 }",
        "options.v1.service_note: extend google.protobuf.ServiceOptions { service_note = 50007 }",
        "options.v1.method_details: extend google.protobuf.MethodOptions { method_details = 50008 }",
        "options.v1.Rank.RANK_HIGH: option (options.v1.value_note) = 1.5",
        "options.v1.Marked: option (options.v1.is_closed) = true",
        'options.v1.Noted: option (options.v1.details) = { text: "a \\"text\\" # of " numbers: 1 numbers: 2 }',
        'options.v1.Noted.choice: option (options.v1.oneof_note) = "\\001x"',
        "options.v1.Noted.number: option (options.v1.ranks) = RANK_HIGH",
        "options.v1.Noted.number: option (options.v1.ranks) = RANK_UNSPECIFIED",
        'options.v1.Noted.text: json_name = "theText"',
        "options.v1.Optional: option (options.v1.service_note) = -4",
        'options.v1.Optional.Get: option (options.v1.method_details) = { text: "of a method" }',
    ],
    "proto2.proto": [
        "old.v1.note: extend old.v1.Old { note = 120 }",
        "old.v1.Closed: its values have no 0, and fastrpc proto writes one",
        "old.v1.Old: extensions 100 to 199, 500",
        "old.v1.Old.result: the group result = 12",
        "old.v1.Old.part: the group part = 13",
        "old.v1.Old.id: required",
        "old.v1.Scope.scopes: extend old.v1.Old { scopes = 121 }",
    ],
}

#: The service that uses every class, its messages, and the zero of an enum without one.
_ADDED = re.compile(r"(^|\.)(Every_\w+|Use\w+\d(Request|Response)\b|\w+\.(CLOSED|SHUT)_UNSPECIFIED)")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of all files, in a folder."""
    folder = tmp_path_factory.mktemp("modules")
    for name in FILES:
        text = contract_of(name).written.text
        (folder / f"{name.removesuffix('.proto')}_contract.py").write_text(text, encoding="utf-8")
    return folder


def checked(modules: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=modules,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def marshals(name: str) -> list[tuple[Marshal, Any]]:
    """Return the marshal of each message class of a module, with protobuf's class of the same message."""
    contract, found = contract_of(name), []
    for service in whole_package(contract).services:
        for method in service.methods:
            assert method.messages is not None
            result, own = method.messages.result, method.definition.types().result
            descriptor = contract.main.message_types_by_name.get(result.name)
            if descriptor is not None and is_message_class(own) and "." not in own.__qualname__:
                marshal = message_marshal(method.definition, depth=100, items=1_000_000)
                found.append((marshal, message_factory.GetMessageClass(descriptor)))
    return found


def with_defaults(message: Any) -> bytes:
    """Return a message in which absence is the default that its fields have: Python's value has it."""
    for field in message.DESCRIPTOR.fields:
        if field.has_default_value and not message.HasField(field.name):
            setattr(message, field.name, field.default_value)
        if field.message_type is message.DESCRIPTOR and field.name == "self" and message.HasField("self"):
            with_defaults(message.self)
    found: bytes = message.SerializePartialToString(deterministic=True)
    return found


def compiled_text(text: str, others: dict[str, Any]) -> Any:
    """Return the descriptor of a .proto file that imports other files."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in others:
            if (FOLDER / name).exists():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes((FOLDER / name).read_bytes())
        (folder / "back.proto").write_text(text, encoding="utf-8")
        return compiled(folder / "back.proto", [folder])[-1]


def flat(file: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the entries of a file for each of its parts: the full name first."""
    yield from (line for one in file.message_type for line in flat_message(one, file.package, file))
    yield from (line for one in file.enum_type for line in flat_enum(one, file.package))
    for service in file.service:
        for method in service.method:
            name = f"{file.package}.{service.name}.{method.name}"
            sides = method.client_streaming, method.server_streaming
            yield name, method.input_type, method.output_type, *sides, method.options.idempotency_level


def flat_message(message: Any, place: str, file: Any) -> Iterator[tuple[Any, ...]]:
    name = f"{place}.{message.name}".lstrip(".")
    if not message.options.map_entry:
        ranges = tuple(sorted((one.start, one.end) for one in message.reserved_range))
        yield name, "message", ranges, tuple(sorted(message.reserved_name))
    for field in () if message.options.map_entry else message.field:
        is_member = field.HasField("oneof_index") and not field.proto3_optional
        oneof = message.oneof_decl[field.oneof_index].name if is_member else ""
        kind = field.type_name or field.type
        yield (
            f"{name}.{field.name}",
            field.number,
            kind,
            field.label == field.LABEL_REPEATED,
            oneof,
            is_explicit(field, file),
        )
    yield from (line for one in message.nested_type for line in flat_message(one, name, file))
    yield from (line for one in message.enum_type for line in flat_enum(one, name))


def is_explicit(field: Any, file: Any) -> bool:
    """Return whether a scalar that is zero differs from one that is absent."""
    if field.type == field.TYPE_MESSAGE or field.label == field.LABEL_REPEATED:
        return False
    if field.HasField("oneof_index"):
        return bool(field.proto3_optional)
    if file.syntax == "editions":
        implicit = field.options.features.IMPLICIT
        return bool(field.options.features.field_presence != implicit)
    return file.syntax in {"", "proto2"}


def flat_enum(enum: Any, place: str) -> Iterator[tuple[Any, ...]]:
    name = f"{place}.{enum.name}".lstrip(".")
    ranges = tuple(sorted((one.start, one.end) for one in enum.reserved_range))
    yield name, "enum", enum.options.allow_alias, ranges, tuple(sorted(enum.reserved_name))
    yield from ((f"{name}.{value.name}", value.number) for value in enum.value)


def test_there_are_enough_files() -> None:
    assert len(FILES) >= 20


def test_they_are_formatted(modules: Path) -> None:
    pytest.importorskip("ruff")
    found = checked(modules, "ruff", "format", "--isolated", "--diff", ".")
    assert (found.stdout, found.returncode) == ("", 0)


def test_their_imports_are_used_and_in_order(modules: Path) -> None:
    pytest.importorskip("ruff")
    found = checked(modules, "ruff", "check", "--isolated", "--select", "E4,E7,E9,F,I", ".")
    assert found.returncode == 0, found.stdout


def test_type_checkers_accept_them(modules: Path) -> None:
    pytest.importorskip("mypy")
    # No other run reads a cache.
    found = checked(modules, "mypy", "--strict", "--config-file=", "--cache-dir=/dev/null", ".")
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", FILES)
def test_a_module_names_all_that_it_lacks(name: str) -> None:
    written = contract_of(name).written
    assert written.warnings == LOST.get(name, [])
    for warning in written.warnings:
        text = warning.partition(": ")[2]
        assert f"# Not in this module: {text}\n" in written.text


@pytest.mark.parametrize("name", FILES)
def test_messages_come_back_as_protobuf_writes_them(name: str) -> None:
    contract = contract_of(name)
    count = 0
    for marshal, oracle in marshals(name):
        for message in filled_messages(oracle):
            value = marshal.decode_result(message.SerializePartialToString(deterministic=True))
            found = oracle.FromString(marshal.encode_result(value))
            assert with_defaults(found) == with_defaults(message), value
            count += 1
    assert count or not contract.main.message_types_by_name


@pytest.mark.parametrize("name", FILES)
def test_the_schema_comes_back(name: str) -> None:
    contract = contract_of(name)
    file = compiled_text(proto_text(whole_package(contract)), contract.files.protos)
    lost = {warning.partition(": ")[0] for warning in LOST.get(name, [])}
    lost |= {f"{part.rpartition('.')[0]}.{part.rpartition('.')[2].title()}" for part in lost}
    # The number of a group is reserved.
    lost |= {"editions.v1.Featured", "old.v1.Old", "old.v1.Old.Part.size", "old.v1.Old.Result.url"}
    old = {line for line in flat(contract.files.protos[name]) if line[0] not in lost}
    new = {line for line in flat(file) if line[0] not in lost and not _ADDED.search(line[0])}
    assert (sorted(old - new, key=str), sorted(new - old, key=str)) == ([], [])
