"""gRPC's reflection: descriptors of the methods that a caller may call, for tools of other projects."""

import dataclasses
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import fastrpc
import fastrpc.grpc
from fastrpc import Client, Identity, Server, ServerConfig, Status
from fastrpc.auth import Policy, StaticTokens
from tests.integration.grpc.test_unary_calls import channel
from tests.support.generated import generated, generated_from
from tests.support.grpc_peer import grpc_peer

pytestmark = pytest.mark.one_loop

CONFIG = ServerConfig(protocols=("native", "grpc"))
NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
PATHS = [f"/{name}/ServerReflectionInfo" for name in NAMES]
OWN = ["grpc.health.v1.Health", *NAMES]

Request, Response = reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse


@dataclasses.dataclass
class Price:
    amount: int
    since: datetime | None = None
    more: Any = None


@dataclasses.dataclass
class Secret:
    hidden_code: str


@fastrpc.service("shop.v1.items", grpc="pascal")
class Items:
    @fastrpc.method
    async def get_price(self, name: str) -> Price:
        return Price(len(name))

    @fastrpc.method
    async def hide(self, secret: Secret) -> None: ...

    @fastrpc.method
    async def send(self, prices: AsyncIterator[Price]) -> AsyncIterator[int]:
        async for price in prices:
            yield price.amount


async def asked(address: Any, *questions: Any, path: str = PATHS[0], token: str = "") -> list[Any]:
    """Return the answers to questions on one stream."""
    async with channel(address) as client:
        call = client.stream_stream(
            path, request_serializer=Request.SerializeToString, response_deserializer=Response.FromString
        )(iter(questions), metadata=[("authorization", f"Bearer {token}")] if token else None)
        return [answer async for answer in call]


def files_of(answer: Any) -> dict[str, Any]:
    """Return the files of an answer by name, the one that was asked for first."""
    found = map(
        descriptor_pb2.FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto
    )
    return {file.name: file for file in found}


def pool_of(files: Iterable[Any]) -> descriptor_pool.DescriptorPool:
    """Return a pool with files; each given file stands before the files that it imports."""
    pool = descriptor_pool.DescriptorPool()
    for file in reversed(list(files)):
        pool.Add(file)
    return pool


@pytest.mark.parametrize("path", PATHS)
async def test_both_versions_list_services_and_describe_them(path: str) -> None:
    async with Server(Items(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        listed, described = await asked(
            address,
            Request(host="here", list_services=""),
            Request(file_containing_symbol="shop.v1.Items"),
            path=path,
        )
    assert [one.name for one in listed.list_services_response.service] == sorted([*OWN, "shop.v1.Items"])
    assert (listed.valid_host, listed.original_request.WhichOneof("message_request")) == (
        "here",
        "list_services",
    )
    files = files_of(described)
    assert list(files) == ["shop/v1.proto", "google/protobuf/empty.proto", *list(files)[2:]]
    assert set(files) == {
        "shop/v1.proto",
        *(f"google/protobuf/{name}.proto" for name in ("empty", "struct", "timestamp")),
    }
    service = pool_of(files.values()).FindServiceByName("shop.v1.Items")
    send = service.methods_by_name["Send"]
    assert (send.client_streaming, send.server_streaming) == (True, True)
    assert service.methods_by_name["GetPrice"].output_type.fields_by_name["since"].message_type.full_name == (
        "google.protobuf.Timestamp"
    )


async def test_files_are_found_by_each_name_in_them_and_imports_are_sent_once() -> None:
    async with Server(Items(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        names = ["shop.v1.Price", "shop.v1.Price.amount", "shop.v1.Items.GetPrice", "shop.v1.GetPriceRequest"]
        answers = await asked(address, *(Request(file_containing_symbol=name) for name in names))
        by_file, unknown, nothing, extension, numbers = await asked(
            address,
            Request(file_by_filename="google/protobuf/struct.proto"),
            Request(file_containing_symbol="shop.v1.Nope"),
            Request(),
            Request(
                file_containing_extension=reflection_pb2.ExtensionRequest(
                    containing_type="shop.v1.Price", extension_number=7
                )
            ),
            Request(all_extension_numbers_of_type="shop.v1.Price"),
        )
    assert [list(files_of(one)) for one in answers[1:]] == [["shop/v1.proto"]] * 3
    assert len(files_of(answers[0])) == 4
    assert list(files_of(by_file)) == ["google/protobuf/struct.proto"]
    assert unknown.error_response.error_code == Status.NOT_FOUND
    assert "shop.v1.Nope" in unknown.error_response.error_message
    assert nothing.error_response.error_code == Status.INVALID_ARGUMENT
    assert extension.error_response.error_code == Status.NOT_FOUND
    assert numbers.all_extension_numbers_response.base_type_name == "shop.v1.Price"


async def test_own_services_are_described_as_everyone_knows_them() -> None:
    async with Server(Items(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        health, own = await asked(
            address,
            Request(file_containing_symbol="grpc.health.v1.Health"),
            Request(file_containing_symbol=NAMES[1]),
        )
    [file] = files_of(health).values()
    known = descriptor_pb2.FileDescriptorProto.FromString(health_pb2.DESCRIPTOR.serialized_pb)
    assert file.message_type[1].enum_type == known.message_type[1].enum_type
    assert list(file.service[0].method) == [one for one in known.service[0].method if one.name != "List"]
    [file] = files_of(own).values()
    known = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    assert file.service == known.service
    pool = pool_of([file])
    for message in known.message_type:
        ours = pool.FindMessageTypeByName(f"grpc.reflection.v1alpha.{message.name}")
        theirs = reflection_pb2.DESCRIPTOR.message_types_by_name[message.name]
        assert {one.name: (one.number, one.type) for one in ours.fields} == {
            one.name: (one.number, one.type) for one in theirs.fields
        }


async def test_a_service_that_is_added_later_is_described_by_its_names_only() -> None:
    @fastrpc.service("late.v1.own", alias=NAMES[:1])
    class Late:
        @fastrpc.method
        async def hello(self, name: str) -> str:
            return name

    async with Server(Items(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        [before] = await asked(address, Request(file_containing_symbol="late.v1.own"))
        server.add(Late())
        listed, described = await asked(
            address, Request(list_services=""), Request(file_containing_symbol="late.v1.own.hello")
        )
    assert before.error_response.error_code == Status.NOT_FOUND
    assert [one.name for one in listed.list_services_response.service] == sorted(
        [*OWN, "late.v1.own", "shop.v1.Items"]
    )
    assert list(files_of(described)) == ["late/v1.proto"]


# Rights


def everything_in(answers: Iterable[Any]) -> bytes:
    return b"".join(answer.SerializeToString() for answer in answers)


async def test_callers_see_only_what_they_may_call() -> None:
    policy = Policy(
        [
            {"who": ["ada"], "allow": ["shop.v1.items.get_price", "fastrpc.reflection.*"]},
            {"who": ["grace"], "allow": ["**", "fastrpc.reflection.*"]},
        ]
    )
    tokens = StaticTokens({name: Identity(name) for name in ("ada", "grace", "nil")})
    async with Server(Items(), config=CONFIG, authenticate=tokens, authorize=policy) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        questions = [
            Request(list_services=""),
            Request(file_containing_symbol="shop.v1.Items"),
            Request(file_containing_symbol="shop.v1.Secret"),
            Request(file_by_filename="google/protobuf/empty.proto"),
        ]
        async with grpc_peer(address) as peer:
            for fields, status in (
                ([], Status.UNAUTHENTICATED),
                ([("authorization", "Bearer nil")], Status.PERMISSION_DENIED),
            ):
                assert (await peer.call(PATHS[0], b"", fields)).status == status
        ada = await asked(address, *questions, token="ada")
        grace = await asked(address, *questions, token="grace")
    assert [one.name for one in ada[0].list_services_response.service] == [*NAMES, "shop.v1.Items"]
    [service] = files_of(ada[1])["shop/v1.proto"].service
    assert [one.name for one in service.method] == ["GetPrice"]
    assert [one.error_response.error_code for one in ada[2:]] == [Status.NOT_FOUND] * 2
    for hidden in (b"hide", b"Hide", b"Send", b"health", b"hidden"):
        assert hidden not in everything_in(ada[:2])
    assert [one.name for one in files_of(grace[1])["shop/v1.proto"].service[0].method] == [
        "GetPrice",
        "Hide",
        "Send",
    ]
    assert list(files_of(grace[2])) == ["shop/v1.proto"]


async def test_a_hidden_one_answers_like_an_unknown_method() -> None:
    async with Server(Items(), config=ServerConfig(protocols=("native", "grpc"), reflection=False)) as off:
        async with grpc_peer(await off.listen("tcp://127.0.0.1:0")) as peer:
            absent = await peer.call(PATHS[0], b"")
    async with Server(Items(), config=CONFIG) as server:
        async with grpc_peer(await server.listen("tcp://0.0.0.0:0")) as peer:
            hidden = await peer.call(PATHS[0], b"")
    assert absent.status == Status.UNIMPLEMENTED
    assert hidden.status == absent.status
    assert hidden.text.startswith("no method 'grpc.reflection.v1.ServerReflection.ServerReflectionInfo' here")


# Generated code

SHELF = """
syntax = "proto3";
package shelf.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/descriptor.proto";

extend google.protobuf.MethodOptions { string right = 50001; }

service Shelf {
  rpc Find(Query) returns (Box.Lid) { option (right) = "hidden.right"; }
  rpc Burn(Fire) returns (Fire);
}
service Cellar { rpc Dig(Query) returns (Query); }

message Query {
  reserved "hidden_field";
  map<string, Kind> kinds = 1;
  optional int32 most = 2;
  google.protobuf.Timestamp since = 3;
  oneof place { string row = 4; Query inner = 5; }
}
message Box {
  string hidden_label = 1;
  message Lid { Kind kind = 1; }
  message HiddenPart { string a = 1; }
}
enum Kind { KIND_UNSPECIFIED = 0; KIND_BOOK = 1; }
message Fire { string hidden_fuel = 1; }
"""


class Shelf:
    async def Find(self, request: Any) -> Any:
        return None

    async def Burn(self, request: Any) -> Any:
        return None


async def test_files_of_generated_code_are_cut_down() -> None:
    code = generated_from("shelf", SHELF)
    source = fastrpc.grpc.service(code.pb2.DESCRIPTOR.services_by_name["Shelf"], Shelf())
    tokens = StaticTokens({"ada": Identity("ada")})

    def allow(_: Any, route: Any) -> bool:
        return route.full_name.startswith("fastrpc.reflection.") or route.full_name == "shelf.v1.Shelf.Find"

    async with Server(source, config=CONFIG, authenticate=tokens, authorize=allow) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        listed, described = await asked(
            address,
            Request(list_services=""),
            Request(file_containing_symbol="shelf.v1.Shelf"),
            token="ada",
        )
    assert [one.name for one in listed.list_services_response.service] == [*NAMES, "shelf.v1.Shelf"]
    files = files_of(described)
    assert set(files) == {"shelf.proto", "google/protobuf/timestamp.proto"}
    for hidden in (b"idden", b"Cellar", b"Burn", b"Fire", b"right"):
        assert hidden not in described.SerializeToString()
    pool = pool_of(files.values())
    found = pool.FindServiceByName("shelf.v1.Shelf").methods_by_name["Find"]
    whole = code.pb2.DESCRIPTOR.message_types_by_name["Query"]
    assert {one.name: (one.number, one.type) for one in found.input_type.fields} == {
        one.name: (one.number, one.type) for one in whole.fields
    }
    assert found.input_type.fields_by_name["kinds"].message_type.GetOptions().map_entry
    assert found.output_type.full_name == "shelf.v1.Box.Lid"
    assert list(found.output_type.containing_type.fields) == []


async def test_servicers_and_classes_with_generated_messages_are_described() -> None:
    code = generated()

    @fastrpc.service("shop.v1.Counter")
    class Counter:
        @fastrpc.method
        async def Count(self, request: code.pb2.Item) -> code.pb2.Order:  # type: ignore[name-defined]
            return code.pb2.Order()

    handlers = fastrpc.grpc.Handlers()
    code.pb2_grpc.add_OrdersServicer_to_server(code.pb2_grpc.OrdersServicer(), handlers)
    async with Server(handlers, Counter(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        orders, counter = await asked(
            address,
            Request(file_containing_symbol="shop.v1.Orders"),
            Request(file_containing_symbol="shop.v1.Counter"),
        )
    assert list(files_of(orders)) == ["orders.proto"]
    assert list(files_of(counter)) == ["shop/v1.proto"]
    pool = pool_of([*files_of(counter).values(), *files_of(orders).values()])
    assert pool.FindServiceByName("shop.v1.Counter").methods[0].input_type.full_name == "shop.v1.Item"
    assert pool.FindServiceByName("shop.v1.Orders").methods_by_name["Talk"].client_streaming


@fastrpc.service("grpc.reflection.v1alpha.ServerReflection")
class Own:
    @fastrpc.method(codec="raw")
    async def ServerReflectionInfo(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield b"own"


async def test_a_registered_servicer_takes_its_place() -> None:
    async with Server(Own(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with grpc_peer(address) as peer:
            assert (await peer.call(PATHS[1], b"")).messages == [b"own"]
            assert (await peer.call(PATHS[0], b"")).status == Status.UNIMPLEMENTED
        async with Client(address) as native:
            services = await native.call("fastrpc.reflection.services")
            assert NAMES[1] in [one["name"] for one in services]
