"""The names in a package, and its .proto file."""

import dataclasses
import enum
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.timestamp_pb2 import Timestamp

import fastrpc
from fastrpc.rpc.protobuf.descriptors import file_descriptor, file_name
from fastrpc.rpc.protobuf.packages import ProtoPackage, enum_values, packages_of
from fastrpc.rpc.protobuf.text import proto_text
from fastrpc.rpc.service import service_definition
from tests.support.schema_oracle import pool_of


class Size(enum.Enum):
    """How large a box is."""

    SMALL = "s"
    veryLarge = "l"  # noqa: N815 (names of members may be any)


class Level(enum.IntEnum):
    LOW = 1
    NONE = 0


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    age: int


@dataclasses.dataclass
class Item:
    """A thing to be sold.

    It has a price.
    """

    id: int
    size: Size
    note: str | None = None
    count: int = 1
    tags: list[str] = dataclasses.field(default_factory=list)
    stock: dict[str, int] = dataclasses.field(default_factory=dict)
    pet: Cat | Dog | None = None
    made: datetime | None = None
    price: Annotated[float, fastrpc.Field(20, kind="float")] = 0.0
    more: Any = None


@fastrpc.service("shop.v1.order_items", grpc="pascal")
class OrderItems:
    """Items of orders."""

    @fastrpc.method
    async def get_item(self, id: int, level: Level = Level.NONE) -> Item:
        """Return an item."""
        raise NotImplementedError

    @fastrpc.method
    async def put(self, item: Item) -> None: ...

    @fastrpc.method
    def watch(self) -> AsyncIterator[Item]:
        raise NotImplementedError

    @fastrpc.method
    async def send(self, items: AsyncIterator[int]) -> list[Item]:
        raise NotImplementedError

    @fastrpc.method(codec="raw")
    async def copy(self, data: bytes) -> bytes:
        raise NotImplementedError

    @fastrpc.method
    async def stamp(self, at: Timestamp) -> Timestamp:
        raise NotImplementedError


TEXT = """\
// Written by `fastrpc proto`.
syntax = "proto3";

package shop.v1;

import "google/protobuf/empty.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";

// Items of orders.
service OrderItems {
  // Return an item.
  rpc GetItem(GetItemRequest) returns (Item);
  rpc Put(Item) returns (google.protobuf.Empty);
  rpc Watch(WatchRequest) returns (stream Item);
  rpc Send(stream SendRequest) returns (SendResponse);
  // Copy: its messages are bytes of the program's own.
  rpc Stamp(google.protobuf.Timestamp) returns (google.protobuf.Timestamp);
}

message GetItemRequest {
  int64 id = 1;
  Level level = 2;
}

// A thing to be sold.
//
// It has a price.
message Item {
  int64 id = 1;
  Size size = 2;
  optional string note = 3;
  optional int64 count = 4;
  repeated string tags = 5;
  map<string, int64> stock = 6;
  CatOrDog pet = 7;
  google.protobuf.Timestamp made = 8;
  float price = 20;
  google.protobuf.Value more = 10;
}

message CatOrDog {
  oneof value {
    Cat cat = 1;
    Dog dog = 2;
  }
}

message Cat {
  string name = 1;
}

message Dog {
  int64 age = 1;
}

message WatchRequest {}

message SendRequest {
  int64 value = 1;
}

message SendResponse {
  repeated Item value = 1;
}

enum Level {
  LEVEL_NONE = 0;
  LEVEL_LOW = 1;
}

// How large a box is.
enum Size {
  SIZE_UNSPECIFIED = 0;
  SIZE_SMALL = 1;
  SIZE_VERY_LARGE = 2;
}
"""


def package_of(*classes: type[Any]) -> ProtoPackage:
    (found,) = packages_of([service_definition(cls) for cls in classes])
    return found


def service(name: str, **methods: Any) -> Any:
    """Return a class under `@service` whose methods take and return one type each."""
    marked = {}
    for method, kind in methods.items():

        async def echo(self: Any, value: Any) -> Any:
            raise NotImplementedError

        echo.__annotations__ = {"value": kind, "return": kind}
        echo.__name__ = method
        marked[method] = fastrpc.method(echo)
    return fastrpc.service(name)(type("Made", (), marked))


def test_the_file_has_services_messages_and_enums() -> None:
    assert proto_text(package_of(OrderItems)) == TEXT


def test_the_descriptor_has_the_same() -> None:
    package = package_of(OrderItems)
    assert file_name(package) == "shop/v1.proto"
    file = pool_of(package).FindFileByName("shop/v1.proto")
    assert list(file.services_by_name) == ["OrderItems"]
    methods = file.services_by_name["OrderItems"].methods_by_name
    assert {name: (method.client_streaming, method.server_streaming) for name, method in methods.items()} == {
        "GetItem": (False, False),
        "Put": (False, False),
        "Watch": (False, True),
        "Send": (True, False),
        "Stamp": (False, False),
    }
    item = file.message_types_by_name["Item"]
    assert [field.number for field in item.fields] == [1, 2, 3, 4, 5, 6, 7, 8, 20, 10]
    assert {field.name for field in item.fields if field.has_presence} == {
        "note",
        "count",
        "pet",
        "made",
        "more",
    }
    assert item.fields_by_name["stock"].message_type.GetOptions().map_entry
    assert [value.number for value in file.enum_types_by_name["Size"].values] == [0, 1, 2]


def test_two_classes_of_one_name_have_two_names() -> None:
    one = dataclasses.make_dataclass("Item", [("a", int)])
    other = dataclasses.make_dataclass("Item", [("b", int)])
    package = package_of(service("shop.items", first=one, second=other))
    assert [package.name_of(message) for message in package.messages] == ["Item", "Item2"]
    assert package.full_name(package.messages[1]) == "shop.Item2"


def test_a_message_is_not_called_like_a_service() -> None:
    package = package_of(service("shop.Item", first=dataclasses.make_dataclass("Item", [("a", int)])))
    assert [package.name_of(message) for message in package.messages] == ["Item2"]


def test_a_service_without_dots_has_no_package() -> None:
    package = package_of(service("items", first=Cat))
    assert package.name == ""
    assert "package" not in proto_text(package)
    assert package.full_name(package.messages[0]) == "Cat"
    assert descriptor_pb2.FileDescriptorProto.FromString(file_descriptor(package)).package == ""


def test_a_dash_in_a_name_becomes_an_underscore() -> None:
    package = package_of(service("my-shop.all-items", first=Cat))
    assert (package.name, package.services[0].name) == ("my_shop", "all_items")


def test_a_package_hides_no_message_of_protobuf() -> None:
    text = proto_text(package_of(service("my.google.items", first=dict[str, Any])))
    assert "map<string, .google.protobuf.Value> value = 1;" in text


@pytest.mark.parametrize(("name", "written"), [("shop.v1.pets", ".shop.v1.Cat"), ("pets", ".Cat")])
def test_a_method_hides_no_message_of_its_name(name: str, written: str) -> None:
    @fastrpc.service(name, grpc="pascal")
    class Pets:
        @fastrpc.method
        async def cat(self, cat: Cat) -> Dog:
            return Dog(1)

        @fastrpc.method
        async def dogs(self, cats: AsyncIterator[Cat]) -> AsyncIterator[Dog]:
            yield Dog(1)

    text = proto_text(package_of(Pets))
    assert f"rpc Cat({written}) returns (Dog);" in text
    assert f"rpc Dogs(stream {written}) returns (stream Dog);" in text


def test_services_of_one_package_share_their_messages() -> None:
    one, other = service("shop.one", first=Cat), service("shop.other", first=Cat)
    package = package_of(one, other)
    assert [found.name for found in package.services] == ["one", "other"]
    assert len(package.messages) == 1


def test_services_of_two_packages_are_two() -> None:
    classes = (service("shop.one", first=Cat), service("bank.one", first=Cat), service("shop.two", first=Dog))
    found = packages_of(map(service_definition, classes))
    assert [(package.name, len(package.services)) for package in found] == [("shop", 2), ("bank", 1)]


def test_a_part_keeps_the_names_of_the_whole() -> None:
    one = dataclasses.make_dataclass("Item", [("a", int)])
    other = dataclasses.make_dataclass("Item", [("b", int)])
    package = package_of(service("shop.items", first=one, second=other))
    part = package.part(lambda method: method.name == "second")
    text = proto_text(part)
    assert "message Item2 {" in text
    assert "message Item {" not in text
    assert "rpc first" not in text
    assert package.part(lambda method: False).services == []


def test_methods_without_a_form_are_left_out_and_named() -> None:
    package = package_of(service("shop.items", first=list[list[int]], second=complex, third=Cat))
    first, second = map(str, package.failures)
    assert "Made.first" in first
    assert "list[list[int]]" in first
    assert "Made.second" in second
    assert "complex" in second
    assert [method.name for method in package.services[0].methods] == ["third"]


def test_values_of_an_enum_have_its_name_before_them() -> None:
    kind = enum.Enum("HTTPKind", {"a": 1, "A": 2})
    package = package_of(service("shop.items", first=list[kind]))
    assert enum_values(package, package.enums[0]) == [
        ("HTTP_KIND_UNSPECIFIED", 0),
        ("HTTP_KIND_A", 1),
        ("HTTP_KIND_A_2", 2),
    ]
