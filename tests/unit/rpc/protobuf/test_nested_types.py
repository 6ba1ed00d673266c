"""Nested classes, and the definitions for a class."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

import fastrpc
from fastrpc.errors import ConfigError
from fastrpc.grpc import proto
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.protobuf.derivation import Derivation
from fastrpc.rpc.protobuf.field import FieldError
from fastrpc.rpc.protobuf.packages import packages_of
from fastrpc.rpc.protobuf.text import proto_text
from fastrpc.rpc.service import service_definition
from fastrpc.server.described_files import Describing
from tests.support.nested_messages import Holder, Later, Money, Outer, Places, Plain
from tests.support.schema_oracle import Echo

TEXT = """\
// Written by `fastrpc proto`.
syntax = "proto3";

package shop.v1;

import "google/protobuf/empty.proto";
import "google/type/money.proto";

service Holder {
  rpc Get(Outer) returns (Outer.Inner) {
    option idempotency_level = NO_SIDE_EFFECTS;
  }
  rpc Only(Outer.Inner.Deep) returns (google.protobuf.Empty) {
    option idempotency_level = IDEMPOTENT;
  }
}

message Outer {
  // Inside of it.
  message Inner {
    message Deep {
      Outer.Size size = 2;
    }

    Outer.Inner.Deep deep = 1;
  }

  enum Size {
    SIZE_UNSPECIFIED = 0;
    SIZE_SMALL = 1;
  }

  reserved 8, 10 to 19;
  reserved "foo";
  string from = 1;
  Outer.Inner inner = 2;
  Outer.Size size = 3;
  Plain plain = 4;
  google.type.Money price = 5;
  map<string, google.type.Money.Part> parts = 6;
  optional Later.Kind later = 7;
}

message Later {
  enum Kind {
    KIND_UNSPECIFIED = 0;
    KIND_GOOD = 1;
  }
}

enum Plain {
  option allow_alias = true;
  reserved 7, 9 to max;
  reserved "OLD";
  None = 0;
  one = 1;
  uno = 1;
}
"""


def pool_for(service: Any, may_call: Callable[[MethodDefinition], bool]) -> tuple[Any, dict[str, Any]]:
    """Return the pool that reflection gives a caller, and its files."""
    found = Describing(lambda: [service_definition(service)]).files_for(may_call)
    name = service_definition(service).names.grpc_service
    sent: set[str] = set()
    told = [descriptor_pb2.FileDescriptorProto.FromString(one) for one in found.of_name(name, sent) or ()]
    pool = descriptor_pool.DescriptorPool()
    for file in reversed(told):
        pool.Add(file)
    return pool, {file.name: file for file in told}


def test_the_proto_file_nests_them() -> None:
    (package,) = packages_of([service_definition(Holder)])
    assert package.failures == []
    assert proto_text(package) == TEXT


def test_reflection_tells_their_names_and_the_files_that_are_imported() -> None:
    pool, files = pool_for(Holder, lambda _: True)
    assert set(files) == {"shop/v1.proto", "google/type/money.proto", "google/protobuf/empty.proto"}
    outer = pool.FindMessageTypeByName("shop.v1.Outer")
    assert outer.fields_by_name["from"].number == 1
    assert outer.fields_by_name["price"].message_type.full_name == "google.type.Money"
    assert (
        pool.FindMessageTypeByName("shop.v1.Outer.Inner.Deep").fields[0].enum_type.full_name
        == "shop.v1.Outer.Size"
    )
    assert [value.name for value in pool.FindEnumTypeByName("shop.v1.Plain").values] == ["None", "one", "uno"]
    levels = [one.GetOptions().idempotency_level for one in pool.FindServiceByName("shop.v1.Holder").methods]
    assert levels == [1, 2]


def test_a_caller_learns_no_fields_of_a_message_that_is_only_a_place() -> None:
    _, files = pool_for(Holder, lambda method: method.name == "only")
    assert set(files) == {"shop/v1.proto", "google/protobuf/empty.proto"}
    (outer,) = files["shop/v1.proto"].message_type
    assert (outer.name, list(outer.field)) == ("Outer", [])
    assert [one.name for one in outer.enum_type] == ["Size"]


def test_a_class_without_a_form_is_a_place_all_the_same() -> None:
    (package,) = packages_of([service_definition(Places)])
    assert package.failures == []
    assert "message Place {\n  message Held {\n    int64 number = 1;\n  }\n}\n" in proto_text(package)


def test_values_come_back() -> None:
    echo = Echo(Outer)
    deep = Outer.Inner.Deep(Outer.Size.SMALL)
    money = Money(Money.Part(7))
    for value in (
        Outer(),
        Outer(
            "a", Outer.Inner(deep), Outer.Size.SMALL, Plain.uno, money, {"a": Money.Part(1)}, Later.Kind.GOOD
        ),
    ):
        assert echo.decode(echo.encode(value)) == value
        assert echo.json.decode_result(echo.json.encode_result(value)) == value


def test_a_class_in_a_function_or_a_service_is_in_no_message() -> None:
    @dataclasses.dataclass
    class Local:
        @dataclasses.dataclass
        class Inner:
            number: int = 0

        inner: Inner | None = None

    found = Derivation().message(Local)
    assert found.fields[0].message is not None
    assert found.fields[0].message.outer is None


class TestDeclared:
    """What `proto` takes."""

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"name": "a..b"}, "name is 'a..b', it must be a full name"),
            ({"file": "a.proto"}, "file is 'a.proto', but no name is given"),
            ({"prefix": "a-"}, "prefix is 'a-'"),
            ({"reserved": (1.5,)}, "reserved has 1.5"),
            ({"reserved": ("a b",)}, "reserved has 'a b'"),
            ({"reserved": (range(5, 5),)}, r"reserved has range\(5, 5\)"),
            ({"reserved": (range(1, 9, 2),)}, r"reserved has range\(1, 9, 2\)"),
            ({"reserved": (1 << 31,)}, "reserved has 2147483648"),
        ],
    )
    def test_other_values_are_refused(self, options: Any, text: str) -> None:
        with pytest.raises(ConfigError, match=text):
            proto(**options)

    def test_a_reserved_number_or_name_is_given_to_no_field(self) -> None:
        for reserved, text in (
            (1, "'a' has the number 1, which is reserved"),
            ("a", "the name 'a' is reserved"),
        ):
            cls = proto(reserved=(reserved,))(dataclasses.make_dataclass("Wrong", [("a", int)]))
            with pytest.raises(FieldError, match=text):
                Derivation().message(cls)

    def test_it_is_not_inherited(self) -> None:
        @proto(name="other.Base", file="other.proto")
        @dataclasses.dataclass
        class Base:
            a: int = 0

        @dataclasses.dataclass
        class Child(Base):
            b: int = 0

        assert Derivation("shop").message(Base).known_as == "other.Base"
        assert Derivation("shop").message(Child).known_as is None

    def test_a_class_belongs_to_the_package_that_it_names(self) -> None:
        cls = proto(name="shop.v1.Thing")(dataclasses.make_dataclass("Thing2", [("a", int)]))
        own, other = Derivation("shop.v1").message(cls), Derivation("shop.v2").message(cls)
        assert (own.name, own.known_as) == ("Thing", None)
        assert (other.known_as, other.file) == ("shop.v1.Thing", "shop/v1.proto")

    def test_the_zero_of_an_enum_keeps_its_name(self) -> None:
        level = enum.IntEnum("Level", {"NOTHING": 0, "SOME": 1})
        shown: Any = enum.IntEnum("Shown", {"NOTHING": 0, "name_": 1})
        proto(prefix="LVL_")(shown)

        async def get(self: Any, one: Any, two: Any) -> None: ...

        get.__annotations__ = {"one": level, "two": shown, "return": None}
        cls = fastrpc.service("shop.v1.levels")(type("Levels", (), {"get": fastrpc.method(get)}))
        text = proto_text(packages_of([service_definition(cls)])[0])
        assert "enum Level {\n  LEVEL_NOTHING = 0;\n  LEVEL_SOME = 1;\n}" in text
        assert "enum Shown {\n  LVL_NOTHING = 0;\n  LVL_name = 1;\n}" in text
