"""Modules that `fastrpc contract` writes: places in which a text or a name could do harm, and several packages."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from fastrpc.cli.contracts.protos.files import ProtoFiles
from fastrpc.cli.contracts.protos.layout import comment_lines, docstring
from fastrpc.cli.contracts.protos.module import written_module
from fastrpc.errors import ConfigError, DecodeError
from fastrpc.rpc.protobuf.derivation import Derivation
from tests.support.proto_contracts import contract_of, contract_of_text, imported

HEAD = 'syntax = "proto2";\npackage given.v1;\n'


def file(**parts: Any) -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto(syntax="proto3", **parts)


@pytest.mark.parametrize(
    "text",
    [
        '"""',
        'a """ b',
        '\\"""',
        '"',
        'ends in "',
        "ends in \\",
        'ends in \\"',
        "a\\n\\N{BULLET} \\x00",
        "Grüße, 你好",
        "line\n\n  indented\nline",
        "\u202e right to left",
        "a\rb\x0cc\u2028d",
        '\'\'\' """""""',
    ],
)
def test_no_text_ends_a_docstring_or_a_comment(text: str) -> None:
    source = "\n".join(["class A:", *docstring(text, 4), *comment_lines(text, 4), "    number = 1"])
    names: dict[str, Any] = {}
    exec(compile(source, "given", "exec"), names)
    found = names["A"].__doc__
    if all(one.isprintable() or one == "\n" for one in text):
        assert [line.strip() for line in found.strip().split("\n")] == [
            line.strip() for line in text.split("\n")
        ]
    assert all(one.isprintable() or one == "\n" for one in source)
    assert names["A"].number == 1


@pytest.mark.parametrize("name", ["A(B", "a b", "x\n", "import os", "größe", "1a", ""])
def test_names_from_a_server_that_are_invalid_in_protobuf_are_refused(name: str) -> None:
    with pytest.raises(DecodeError, match=r"a\.proto cannot be read"):
        ProtoFiles([file(name="a.proto", message_type=[{"name": name}])], ["a.proto"])


def test_files_without_their_dependencies_are_refused() -> None:
    with pytest.raises(DecodeError, match=r"a\.proto cannot be read"):
        ProtoFiles([file(name="a.proto", dependency=["b.proto"])], ["a.proto"])


def test_the_same_files_give_the_same_text() -> None:
    contract = contract_of("clashes.proto")
    assert written_module(contract.files, "clashes.proto").text == contract.written.text


def test_methods_are_plain_functions_for_a_sync_client() -> None:
    text = written_module(contract_of("services.proto").files, "services.proto", is_sync=True).text
    assert "    def place(self, request: Item) -> Order:" in text
    assert "    def follow(self, request: Order) -> Iterator[Order]: ..." in text
    assert "async def" not in text


def test_classes_of_several_packages_name_their_own() -> None:
    shared = {"name": "Shared", "field": [{"name": "x", "number": 1, "type": 5, "label": 1}]}
    get = {"name": "Get", "input_type": ".one.Shared", "output_type": ".one.Shared"}
    one = file(
        name="one/a.proto", package="one", message_type=[shared], service=[{"name": "A", "method": [get]}]
    )
    two = file(
        name="two/b.proto",
        package="two",
        dependency=["one/a.proto"],
        message_type=[shared],
        service=[{"name": "A", "method": [get | {"input_type": ".two.Shared"}]}],
    )
    module = imported(written_module(ProtoFiles([one, two], [one.name, two.name]), "a server").text)
    assert (module.A.__name__, module.A2.__name__) == ("A", "A2")
    found = [Derivation("two").message(kind) for kind in (module.Shared, module.Shared2)]
    assert [(one.name, one.known_as) for one in found] == [("Shared", "one.Shared"), ("Shared", None)]


def test_names_that_are_one_in_json_are_reported(tmp_path: Path) -> None:
    option = "option deprecated_legacy_json_field_conflicts = true;"
    text = f"{HEAD}message A {{ {option} optional int32 a_b = 1; optional int32 aB = 2; }}\n"
    assert contract_of_text(tmp_path, text).written.warnings == [
        "given.v1.A.aB: a_b and aB are one name in JSON, so that no method takes the message"
    ]


def test_a_newer_edition_is_read(tmp_path: Path) -> None:
    text = 'edition = "2024";\npackage given.v1;\nexport message A { string name = 1; }\n'
    try:
        module = contract_of_text(tmp_path, text).module
    except ConfigError:
        pytest.skip("this protoc is older")
    assert module.A().name is None
