"""`fastrpc contract` as a person and a build server use it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import Finished, Program, run_program

V1 = """
import fastrpc
from dataclasses import dataclass

@dataclass
class Receipt:
    number: int
    note: str = ""

@fastrpc.service("bank")
class Bank:
    @fastrpc.method(idempotent=True)
    async def transfer(self, source: str, target: str, cents: int = 0) -> Receipt:
        return Receipt(1)

services = [Bank()]
"""
CALLER = """
import bank, fastrpc, sys

with fastrpc.SyncClient(sys.argv[1]) as client:
    print(client.bind(bank.Bank).transfer(source="a", target="b"))
"""
V2 = V1.replace("source: str, target: str", "target: str, source: str")
V3 = V1.replace(
    "@fastrpc.method(idempotent=True)\n    async def transfer(self, source: str",
    "@fastrpc.method(idempotent=True, renamed={'source': 'payer'})\n    async def transfer(self, payer: str",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("v1", V1), ("v2", V2), ("v3", V3)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def contract(folder: Path, *arguments: str) -> Finished:
    return run_program(["-m", "fastrpc", "contract", *arguments], folder, {})


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    with Program(["-m", "fastrpc", "run", "v1:services", "-a", "tcp://127.0.0.1:0"], folder) as program:
        yield program.wait_output(r"serving at (\S+)\n")[1]


def test_a_server_a_module_and_a_file_give_one_contract(folder: Path, server: str) -> None:
    asked = contract(folder, server)
    assert (asked.code, asked.errors) == (0, "")
    assert "class Bank(Protocol):" in asked.output
    assert contract(folder, "v1:services").output == contract(folder, "v1:Bank").output == asked.output
    (folder / "bank.py").write_text(asked.output)
    assert contract(folder, "bank.py").output == asked.output
    (folder / "bank.json").write_text(contract(folder, server, "--json").output)
    assert contract(folder, "bank.json").output == asked.output
    listed = run_program(["-m", "fastrpc", "list", server, "--json"], folder, {})
    (folder / "listed.json").write_text(listed.output)
    assert contract(folder, "listed.json").output == asked.output


def test_the_contract_calls_the_server(folder: Path, server: str) -> None:
    (folder / "bank.py").write_text(contract(folder, server, "--sync").output)
    (folder / "caller.py").write_text(CALLER)
    done = run_program(["caller.py", server], folder, {})
    assert done.output == "Receipt(number=1, note='')\n", done.errors


def test_a_check_ends_with_one_if_callers_break(folder: Path, server: str) -> None:
    broken = contract(folder, "--check", server, "v2:Bank")
    assert broken.code == 1
    assert "incompatible bank.transfer: parameter 'source' was number 1, now it is number 2" in broken.output
    kept = contract(folder, "--check", server, "v3:Bank")
    assert kept.code == 0
    assert "compatible   bank.transfer: parameter 'source' is called 'payer' now" in kept.output
    same = contract(folder, "v1:Bank", server, "--check")
    assert same.code == 0
    assert same.output.startswith("no changes in the compared parts\nnot compared: ")


def test_a_check_tells_machines(folder: Path) -> None:
    told = contract(folder, "--check", "v1:Bank", "v2:Bank", "--json")
    assert told.code == 1
    found = json.loads(told.output)
    assert found["compatible"] is False
    assert "checks in code, such as validators" in found["not_compared"]
    assert found["changes"][0] == {
        "where": "bank.transfer",
        "text": "parameter 'source' was number 1, now it is number 2",
        "is_compatible": False,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 2, "Missing argument"),
        (("v1:Bank", "v2:Bank"), 2, "give one source, or --check OLD NEW"),
        (("--check", "v1:Bank"), 2, "--check takes two sources: OLD NEW"),
        (("--check", "--sync", "v1:Bank", "v2:Bank"), 2, "--sync has no effect with --check"),
        (("v1:Receipt",), 2, "not a service"),
        (("v1",), 2, "write it as module:attribute"),
        (("nothing:Bank",), 2, "there is no module 'nothing'"),
        (("bad.json",), 2, "bad.json is not JSON"),
        (("other.json",), 1, "other.json does not describe its services as fastrpc does"),
        (("empty.py",), 2, "empty.py has no service"),
        (("broken.py",), 2, "broken.py cannot be run: ZeroDivisionError"),
        (("missing.py",), 1, "missing.py: No such file"),
        (("missing.json",), 1, "missing.json: No such file"),
        (("tcp://127.0.0.1:1",), 1, "127.0.0.1:1"),
    ],
)
def test_an_invalid_source_is_reported(
    folder: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    (folder / "bad.json").write_text("{")
    (folder / "other.json").write_text('[{"name": 1}]')
    (folder / "empty.py").write_text("")
    (folder / "broken.py").write_text("1 / 0")
    ended = contract(folder, *arguments)
    assert ended.code == code, ended
    assert text in ended.errors


def test_texts_of_a_file_reach_no_terminal_raw(folder: Path) -> None:
    evil = "\x1b]0;title\x07\u202e"
    service = {"name": f"s{evil}", "version": evil, "documentation": evil}
    method = {"name": evil, "kind": "unary", "parameters": [], "result": "int"}
    method |= {"full_name": evil, "signature": evil, "documentation": evil}
    (folder / "old.json").write_text(json.dumps([service | {"methods": [method]}]))
    (folder / "new.json").write_text(json.dumps([service | {"methods": []}]))
    for arguments in (("old.json",), ("old.json", "--json"), ("--check", "old.json", "new.json")):
        ended = contract(folder, *arguments)
        assert not {"\x1b", "\x07", "\u202e"} & set(ended.output + ended.errors)


def test_an_app_stands_for_its_services(folder: Path) -> None:
    (folder / "served.py").write_text("import fastrpc\nfrom v1 import Bank\n\napp = fastrpc.App([Bank])\n")
    written = contract(folder, "served:app")
    assert written.code == 0
    assert written.output == contract(folder, "v1:services").output


def test_a_check_lists_the_parts_that_it_does_not_compare(folder: Path) -> None:
    checked = contract(folder, "--check", "v1:services", "v1:services")
    assert checked.code == 0
    assert "not compared: checks in code, such as validators, classes" in checked.output


OWN = """
import fastrpc
import fastrpc.types

class Money: ...

fastrpc.types.register(Money, encode=lambda money: 1, decode=lambda number: Money())

@fastrpc.service("till")
class Till:
    @fastrpc.method
    async def pay(self, money: Money) -> None: ...
"""


def test_a_type_that_cannot_be_written_is_a_warning_and_strict_a_failure(folder: Path) -> None:
    (folder / "own.py").write_text(OWN)
    written = contract(folder, "own:Till")
    assert (written.code, "async def pay(self, money: Any) -> None: ..." in written.output) == (0, True)
    assert written.errors == "warning: till.pay: Money cannot be written; it is Any\n"
    strict = contract(folder, "own:Till", "--strict")
    assert (strict.code, strict.output, strict.errors) == (1, written.output, written.errors)
    assert contract(folder, "v1:services", "--strict").code == 0
    for other in ("--check", "--json"):
        sources = ["own:Till"] * (2 if other == "--check" else 1)
        refused = contract(folder, *sources, "--strict", other)
        assert refused.code == 2
        assert f"--strict has no effect with {other}" in refused.output + refused.errors
    (folder / "till.py").write_text(written.output)
    assert contract(folder, "--check", "till.py", "own:Till").code == 0


GENERATED = """
import fastrpc
from google.protobuf.type_pb2 import Field

@fastrpc.service("fields")
class Fields:
    @fastrpc.method
    async def get(self, field: Field) -> Field: ...
"""


def test_a_missing_module_of_generated_code_is_told_with_a_way_out(folder: Path) -> None:
    (folder / "fields.py").write_text(GENERATED)
    described = contract(folder, "fields:Fields", "--json").output
    (folder / "known.json").write_text(described)
    (folder / "far.json").write_text(described.replace("google.protobuf.type_pb2", "fleet_pb2"))
    ended = contract(folder, "--check", "--grpc", "known.json", "far.json")
    assert (ended.code, ended.output) == (2, "")
    assert "the contract has messages of the module 'fleet_pb2', which is missing" in ended.errors
    assert "PYTHONPATH=FOLDER" in ended.errors
    (folder / "fleet_pb2.py").write_text("from google.protobuf.type_pb2 import Field\n")
    sources = ("--check", "--grpc", "known.json", "far.json")
    found = run_program(["-m", "fastrpc", "contract", *sources], folder, {"PYTHONPATH": str(folder)})
    assert (found.code, found.errors) == (0, "")
