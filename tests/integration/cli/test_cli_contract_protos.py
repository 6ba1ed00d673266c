"""`fastrpc contract` of .proto files and of gRPC servers, as a team uses it."""

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

import fastrpc
from fastrpc import Field, Identity, ServerConfig
from fastrpc.auth import StaticTokens
from fastrpc.rpc.service import service_definition
from tests.support.described_orders import described_orders
from tests.support.nested_messages import Holder
from tests.support.program import Finished, Program, run_program
from tests.support.proto_contracts import FOLDER, imported
from tests.support.threaded_server import ThreadedServer

SHOP = """\
syntax = "proto3";
package shop.v1;
import "parts/item.proto";

// A shop.
service Shop {
  rpc Put(Item) returns (Item);
}
"""
ITEM = """\
syntax = "proto3";
package shop.v1;
message Item { string name = 1; oneof owner { string a = 2; int32 b = 3; } }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "idl" / "parts").mkdir(parents=True)
    (tmp_path / "idl" / "shop.proto").write_text(SHOP)
    (tmp_path / "idl" / "parts" / "item.proto").write_text(ITEM)
    return tmp_path


@dataclasses.dataclass
class Thing:
    name: str
    one: Annotated[int | None, Field(5, oneof="either")] = None
    two: Annotated[str | None, Field(6, oneof="either")] = None


@fastrpc.service("shop.v1.things", grpc="pascal")
class Things:
    @fastrpc.method
    async def put_thing(self, thing: Thing) -> Thing:
        """Put a thing."""
        return thing


@pytest.fixture(scope="module")
def theirs() -> Iterator[str]:
    """The address of a server of grpcio, whose reflection is v1alpha."""
    with described_orders() as target:
        yield target


def serving(*services: Any, **options: Any) -> ThreadedServer:
    config = ServerConfig(protocols=("native", "grpc"), **options.pop("config", {}))
    return ThreadedServer(*services, config=config, **options)


def by_grpc(server: ThreadedServer) -> str:
    return server.address.replace("tcp://", "grpc://")


def contract(folder: Path, *arguments: str) -> Finished:
    return run_program(["-m", "fastrpc", "contract", *arguments], folder, {})


def test_a_file_is_a_module_that_runs(folder: Path) -> None:
    ended = contract(folder, "idl/shop.proto")
    assert (ended.code, ended.errors) == (0, "")
    module = imported(ended.output)
    assert module.Item(name="a", b=1).b == 1
    assert service_definition(module.Shop).name == "shop.v1.shop"
    assert contract(folder, "-I", "idl", "idl/shop.proto").output == ended.output


def test_lost_information_is_a_warning_and_a_failure_with_strict(tmp_path: Path) -> None:
    for options, code in (((), 0), (("--strict",), 1)):
        ended = contract(tmp_path, *options, str(FOLDER / "proto2.proto"))
        assert ended.code == code
        assert "warning: old.v1.Old.id: required\n" in ended.errors
        assert "# Not in this module: required\n" in ended.output
    assert contract(tmp_path, "--strict", str(FOLDER / "services.proto")).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "cause", "hint"),
    [
        (("idl/none.proto",), 2, "idl/none.proto: there is no such file", ""),
        (("-I", "none", "idl/shop.proto"), 2, "-I none: there is no such folder", ""),
        (("-I", "parts", "idl/lost.proto"), 2, "lost.proto:2:1: x/y.proto is not found", "-I FOLDER"),
        (
            ("idl/google.proto",),
            2,
            "google/api/none.proto is not found",
            "pip install googleapis-common-protos",
        ),
        (("idl/wrong.proto",), 2, "wrong.proto:2:24: Missing field number.", ""),
        (("-I", "idl", "json:dumps"), 2, "-I has no effect without a .proto file", "leave it out"),
    ],
)
def test_mistakes_name_the_file_and_the_line(
    folder: Path, arguments: tuple[str, ...], code: int, cause: str, hint: str
) -> None:
    (folder / "parts").mkdir()
    (folder / "idl" / "wrong.proto").write_text('syntax = "proto3";\nmessage Item { string a; }\n')
    (folder / "idl" / "lost.proto").write_text('syntax = "proto3";\nimport "x/y.proto";\n')
    (folder / "idl" / "google.proto").write_text('syntax = "proto3";\nimport "google/api/none.proto";\n')
    ended = contract(folder, *arguments)
    assert (ended.code, ended.output) == (code, "")
    assert cause in ended.errors
    assert hint in ended.errors
    assert "Traceback" not in ended.errors


def test_a_file_is_compared_with_a_module(folder: Path) -> None:
    (folder / "shop_contract.py").write_text(contract(folder, "idl/shop.proto").output)
    same = contract(folder, "--check", "--grpc", "idl/shop.proto", "shop_contract.py")
    assert (same.code, "no changes" in same.output) == (0, True)
    (folder / "idl" / "parts" / "item.proto").write_text(ITEM.replace("int32 b = 3", "int64 b = 4"))
    other = contract(folder, "--check", "--grpc", "shop_contract.py", "idl/shop.proto")
    assert (other.code, "field 3 of the request, 'b', is gone" in other.output) == (1, True)


def test_a_server_of_grpcio_tells_its_contract(tmp_path: Path, theirs: str) -> None:
    ended = contract(tmp_path, theirs)
    assert (ended.code, ended.errors) == (0, "")
    assert '@service("shop.v1.orders", grpc="pascal")' in ended.output
    assert "def talk(self, requests: AsyncIterator[Item]) -> AsyncIterator[Order]: ..." in ended.output
    assert "class Health" not in ended.output
    with fastrpc.SyncClient(theirs) as client:
        module = imported(contract(tmp_path, "--sync", theirs).output)
        assert client.call(module.Orders.get, module.Item("apple", 3)) == module.Order("apple", 3)


def test_our_server_tells_its_contract_by_grpc(tmp_path: Path) -> None:
    with serving(Things(), Holder()) as server:
        ended = contract(tmp_path, by_grpc(server))
        assert (ended.code, ended.errors) == (0, "")
        module = imported(ended.output)
        with fastrpc.SyncClient(by_grpc(server)) as client:
            thing = module.Thing(name="a", two="b")
            assert client.call(module.Things.put_thing, thing) == thing
    assert 'one: Annotated[int | None, Field(5, oneof="either")] = None' in ended.output
    assert "fastrpc.reflection" not in ended.output


def test_a_refusal_of_our_server_does_not_name_its_methods_of_reflection(tmp_path: Path) -> None:
    with serving(Things(), config={"reflection": False}) as server:
        off = contract(tmp_path, by_grpc(server))
    with serving(Things(), authenticate=StaticTokens({"t": Identity("ada")})) as server:
        unknown = contract(tmp_path, by_grpc(server))
    for ended in (off, unknown):
        assert (ended.code, ended.output) == (1, "")
        assert "fastrpc.reflection" not in ended.errors
        assert "ServerReflection" not in ended.errors
    assert "has no reflection" in off.errors
    assert "a .proto file" in off.errors
    assert "--token-file" in unknown.errors


def test_a_missing_server_is_named(tmp_path: Path) -> None:
    ended = contract(tmp_path, "grpc://127.0.0.1:1", "--timeout", "2")
    assert (ended.code, ended.output) == (1, "")
    assert "127.0.0.1:1" in ended.errors


def test_without_protoc_the_package_is_named(folder: Path) -> None:
    code = (
        "import sys\nsys.modules['grpc_tools'] = None\nimport importlib.util, os\nos.environ['PATH'] = ''\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'grpc_tools' else find(name, *rest)\n"
        "from fastrpc.cli.main import main\nsys.argv = ['fastrpc', 'contract', 'idl/shop.proto']\nmain()\n"
    )
    with Program(["-c", code], folder, {}, stdin=subprocess.DEVNULL) as program:
        ended = program.wait()
    assert (ended.code, ended.output) == (2, "")
    assert "pip install grpcio-tools" in ended.errors
