"""`fastrpc call`, `list` and `bench` of servers of gRPC, by their reflection: one of grpcio, and ours."""

import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Identity, ServerConfig, Status
from fastrpc.auth import StaticTokens
from tests.support.certificates import Authority
from tests.support.described_orders import described_orders
from tests.support.program import Finished, Program
from tests.support.threaded_server import ThreadedServer

DETAILS = [
    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"},
    {"@type": "type.googleapis.com/shop.v1.Item", "name": "broken", "count": 3},
]


@pytest.fixture(scope="module")
def theirs() -> Iterator[str]:
    """The address of a server of grpcio, whose reflection is v1alpha."""
    with described_orders() as target:
        yield target


@dataclass
class Item:
    name: str
    count: int = 1


@fastrpc.service("shop.v1.items", grpc="pascal")
class Items:
    @fastrpc.method
    async def get_item(self, name: str, count: int = 2) -> Item:
        return Item(name, count)

    @fastrpc.method
    async def put(self, item: Item) -> None: ...

    @fastrpc.method
    async def add(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def fail(self) -> None:
        raise CallError(Status.NOT_FOUND, "no such item", details={"at": 7})


@pytest.fixture(scope="module")
def ours() -> Iterator[str]:
    with ThreadedServer(Items(), config=ServerConfig(protocols=("native", "grpc"))) as server:
        yield server.address.replace("tcp://", "grpc://")


def command(folder: Path, *arguments: str, given: str = "", **environment: str) -> Finished:
    with Program(["-m", "fastrpc", *arguments], folder, environment, stdin=subprocess.PIPE) as program:
        program.write(given)
        program.close_input()
        return program.wait()


class TestServerOfGrpcio:
    @pytest.mark.parametrize(
        "arguments", [("apple", "3"), ("count=3", "name=apple"), ('{"name": "apple", "count": "3"}',)]
    )
    def test_arguments_are_fields_or_the_whole_message(
        self, tmp_path: Path, theirs: str, arguments: tuple[str, ...]
    ) -> None:
        ended = command(tmp_path, "call", theirs, "shop.v1.Orders.Get", *arguments)
        assert (ended.code, json.loads(ended.output)) == (0, {"text": "apple", "total": 3})
        assert re.fullmatch(r"OK in [\d.]+ ms from \S+\n", ended.errors)

    def test_the_name_may_be_a_path_and_a_text_field_takes_any_text(
        self, tmp_path: Path, theirs: str
    ) -> None:
        ended = command(
            tmp_path, "call", theirs, "shop.v1.Orders/Get", "12", "--metadata", "user=ada", "--json"
        )
        told = json.loads(ended.output)
        assert (told["value"], told["status"]) == ({"text": "12ada"}, "OK")

    def test_streams_are_lines_both_ways(self, tmp_path: Path, theirs: str) -> None:
        ended = command(tmp_path, "call", theirs, "shop.v1.Orders.Follow", "apple", "2")
        assert ended.output == '{"text":"apple"}\n{"text":"apple","total":1}\n'
        ended = command(
            tmp_path, "call", theirs, "shop.v1.Orders.Talk", "-", given='{"name": "a", "count": 2}\nb\n'
        )
        assert ended.output == '{"text":"A","total":2}\n{"text":"B"}\n'
        ended = command(
            tmp_path, "call", theirs, "shop.v1.Orders.Total", "-", given='{"count": 2}\n{"count": 3}\n'
        )
        assert json.loads(ended.output) == {"total": 5}

    def test_services_and_methods_are_listed(self, tmp_path: Path, theirs: str) -> None:
        ended = command(tmp_path, "list", theirs)
        assert ended.code == 0
        assert re.sub(" +", " ", ended.output).splitlines() == [
            "shop.v1.Orders",
            " Get(name: string, count: int32) -> Order",
            " Follow(name: string, count: int32) -> stream Order server stream",
            " Total(stream Item) -> Order client stream",
            " Talk(stream Item) -> stream Order both ways",
        ]
        [service] = json.loads(command(tmp_path, "list", theirs, "shop.v1.Orders", "--json").output)
        assert [one["kind"] for one in service["methods"]] == [
            "unary",
            "server_stream",
            "client_stream",
            "both_ways",
        ]
        assert "grpc.reflection.v1alpha.ServerReflection" in command(tmp_path, "list", theirs, "--all").output

    def test_methods_are_measured(self, tmp_path: Path, theirs: str) -> None:
        for method, arguments, given in (
            ("Get", ("apple",), ""),
            ("Follow", ("apple", "100"), ""),
            ("Talk", ("-",), '{"name": "a"}\n'),
        ):
            ended = command(
                tmp_path,
                *("bench", theirs, f"shop.v1.Orders.{method}", *arguments),
                *("--seconds", "1", "--callers", "2", "--json"),
                given=given,
            )
            report = json.loads(ended.output)
            assert (ended.code, report["method"], report["errors"]) == (0, f"shop.v1.Orders.{method}", {})
            assert report["rate"] > 0

    @pytest.mark.parametrize("method", ["Get", "Talk"])
    def test_details_of_errors_are_shown(self, tmp_path: Path, theirs: str, method: str) -> None:
        arguments = ("fail",) if method == "Get" else ("-",)
        call = ("call", theirs, f"shop.v1.Orders.{method}", *arguments)
        ended = command(tmp_path, *call, given="fail\n")
        assert (ended.code, ended.output) == (1, "")
        first, second = ended.errors.splitlines()
        assert first == "error: FAILED_PRECONDITION: not today"
        assert json.loads(second.removeprefix("details: ")) == DETAILS
        told = json.loads(command(tmp_path, *call, "--json", given="fail\n").output)
        assert (told["status"], told["details"]) == ("FAILED_PRECONDITION", DETAILS)

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (
                ["shop.v1.Orders.Gt"],
                1,
                "error: UNIMPLEMENTED: shop.v1.Orders has no method 'Gt'\nhint: did you mean 'Get'?",
            ),
            (
                ["shop.v1.Order.Get"],
                1,
                "has no service 'shop.v1.Order'\nhint: did you mean 'shop.v1.Orders'?",
            ),
            (["Get"], 2, "'Get' is not the full name of a method\nhint: write package.Service.Method"),
            (
                ["shop.v1.Orders.Get", "nam=x"],
                2,
                "shop.v1.Item has no field 'nam'\nhint: did you mean 'name'?",
            ),
            (["shop.v1.Orders.Get", "count=x"], 2, "the values do not fit shop.v1.Item: "),
            (
                ["shop.v1.Orders.Get", "a", "1", "2"],
                2,
                "3 arguments are given by position, shop.v1.Item has 2 fields",
            ),
            (["shop.v1.Orders.Get", "a", "name=b"], 2, "argument 'name' is given twice"),
            (
                ["shop.v1.Orders.Total", "a"],
                2,
                "takes a stream of messages alone\nhint: write - in place of the stream",
            ),
            (["shop.v1.Orders.Get", "a", "--kind", "unary"], 2, "--kind has no effect on grpc://"),
        ],
    )
    def test_mistakes_are_named_with_a_way_out(
        self, tmp_path: Path, theirs: str, arguments: list[str], code: int, said: str
    ) -> None:
        ended = command(tmp_path, "call", theirs, *arguments)
        assert ended.code == code
        assert said in ended.errors


class TestOurServer:
    def test_arguments_are_parameters(self, tmp_path: Path, ours: str) -> None:
        ended = command(tmp_path, "call", ours, "shop.v1.Items.GetItem", "7")
        assert json.loads(ended.output) == {"name": "7", "count": "2"}
        ended = command(tmp_path, "call", ours, "shop.v1.Items.Put", '{"name": "a"}')
        assert (ended.code, ended.output) == (0, "{}\n")
        ended = command(tmp_path, "call", ours, "shop.v1.Items.Add", "-", given="1\n2\n")
        assert json.loads(ended.output) == {"value": "3"}

    def test_plain_details_of_errors_are_shown_over_each_wire(self, tmp_path: Path, ours: str) -> None:
        for address, method in (
            (ours, "shop.v1.Items.Fail"),
            (ours.replace("grpc://", "tcp://"), "shop.v1.items.fail"),
        ):
            ended = command(tmp_path, "call", address, method)
            first, second = ended.errors.splitlines()
            assert first == "error: NOT_FOUND: no such item"
            assert json.loads(second.removeprefix("details: ")) == {"at": 7}

    @pytest.mark.parametrize(
        ("service", "code", "status"),
        [("", 0, "SERVING"), ("shop.v1.Items", 0, "SERVING"), ("shop.v1.Nope", 1, "SERVICE_UNKNOWN")],
    )
    def test_health_is_reported(
        self, tmp_path: Path, ours: str, service: str, code: int, status: str
    ) -> None:
        ended = command(tmp_path, "health", ours, *([service] if service else []))
        assert (ended.code, ended.output) == (code, f"{status}\n")

    def test_a_codec_calls_without_descriptors(self, tmp_path: Path, ours: str) -> None:
        ended = command(tmp_path, "call", ours, "shop.v1.Items.GetItem", "name=x", "--codec", "json")
        assert json.loads(ended.output) == {"name": "x", "count": "2"}

    def test_a_token_goes_to_an_encrypted_server_alone(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        tls = authority.certificate().tls()
        tokens = StaticTokens({"secret": Identity("ada")})
        config = ServerConfig(protocols=("native", "grpc"), tls=tls)
        with ThreadedServer(
            Items(), config=config, listen="tls://127.0.0.1:0", authenticate=tokens
        ) as server:
            place = server.address.removeprefix("tls://")
            call = (
                "call",
                f"grpcs://{place}",
                "shop.v1.Items.GetItem",
                "x",
                "--ca",
                str(authority.cert_file),
            )
            ended = command(tmp_path, *call, FASTRPC_TOKEN="secret")
            assert json.loads(ended.output) == {"name": "x", "count": "2"}
            ended = command(tmp_path, *call)
            assert (ended.code, "UNAUTHENTICATED" in ended.errors) == (1, True)
        ended = command(tmp_path, "list", "grpc://192.0.2.1:1", FASTRPC_TOKEN="secret")
        assert "the token would travel in the clear to grpc://192.0.2.1:1" in ended.errors
        assert "grpcs://" in ended.errors


def test_a_server_without_reflection_is_named(tmp_path: Path) -> None:
    with described_orders(reflects=False) as target:
        calls: list[tuple[Any, ...]] = [
            ("list", target),
            ("call", target, "shop.v1.Orders.Get"),
            ("bench", target, "shop.v1.Orders.Get"),
        ]
        for arguments in calls:
            ended = command(tmp_path, *arguments)
            assert ended.code == 1
            assert f"error: UNIMPLEMENTED: {target} has no reflection" in ended.errors
            assert "hint: turn on the reflection of that server" in ended.errors
        ended = command(tmp_path, "call", target, "shop.v1.Orders.Get", "\n\x02ab", "--codec", "raw")
        assert (ended.code, ended.output) == (0, "\n\x02ab\n".replace("\x02", "\\x02"))
