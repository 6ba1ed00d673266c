"""`alias=` and `rpcx=`: other names of services and methods."""

import abc
from typing import Any, Protocol

import pytest

import fastrpc
from fastrpc import ConfigError
from fastrpc.rpc.aliases import MOST_ALIASES, go_name
from fastrpc.rpc.description import describe
from fastrpc.rpc.service import method_definition, service_definition


@fastrpc.service("shop.v1", alias=("Shop", "old.shop"))
class Shop:
    @fastrpc.method("get", alias=("fetch",))
    async def get_item(self, item: int) -> int:
        return item

    @fastrpc.method
    async def list_all(self) -> list[int]:
        return []


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("mul", "Mul"),
        ("user_id", "UserID"),
        ("id", "ID"),
        ("get_http_url", "GetHTTPURL"),
        ("user_ids", "UserIds"),
        ("identity", "Identity"),
        ("userName", "UserName"),
        ("UserID", "UserID"),
        ("shop.v1.arith", "ShopV1Arith"),
        ("two-words", "TwoWords"),
        ("_hidden__name_", "HiddenName"),
        ("utf8_text", "UTF8Text"),
        ("x2", "X2"),
    ],
)
def test_names_in_go_are_in_camel_case_with_its_initialisms(name: str, written: str) -> None:
    assert go_name(name) == written


@pytest.mark.parametrize("name", ["_", "__", "_2", "-1"])
def test_a_name_that_go_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="has no name in Go"):
        go_name(name)


def test_each_pair_of_names_is_an_alias_but_the_canonical_one() -> None:
    definition = method_definition(Shop.get_item)
    assert definition.full_name == "shop.v1.get"
    assert set(definition.aliases) == {
        "shop.v1.fetch",
        *("Shop.get", "Shop.fetch", "old.shop.get", "old.shop.fetch"),
    }
    assert method_definition(Shop.list_all).aliases == ("Shop.list_all", "old.shop.list_all")


def test_without_aliases_there_are_none() -> None:
    @fastrpc.service("plain")
    class Plain:
        @fastrpc.method
        async def f(self) -> None: ...

    assert method_definition(Plain.f).aliases == ()
    assert service_definition(Plain).names == ("plain", (), None, None)


def test_go_names_are_aliases_of_service_and_methods() -> None:
    @fastrpc.service("arith", rpcx="go", alias=("sums",))
    class Arith:
        @fastrpc.method
        async def get_user_id(self) -> None: ...

        @fastrpc.method
        async def Mul(self) -> None: ...

    assert set(method_definition(Arith.get_user_id).aliases) == {
        "arith.GetUserID",
        "sums.get_user_id",
        "sums.GetUserID",
        "Arith.get_user_id",
        "Arith.GetUserID",
    }
    assert set(method_definition(Arith.Mul).aliases) == {"sums.Mul", "Arith.Mul"}


BAD: list[tuple[Any, type[Exception], str]] = [
    ("fetch", TypeError, r"it must be a list of texts: write alias=\('other',\)"),
    (3, TypeError, r"it must be a list of texts"),
    ((3,), TypeError, r"alias has 3, an alias must be a text"),
    (("a b",), ConfigError, r"'a b', which is not a (service|method) name"),
    (("",), ConfigError, r"'', which is not a (service|method) name"),
    (("x", "x"), TypeError, r"a name twice, .*: x, x"),
    (("same",), TypeError, r"'same', which is the name of the (service|method) already"),
    (tuple(f"n{n}" for n in range(MOST_ALIASES + 1)), ConfigError, r"has at most 8"),
]


@pytest.mark.parametrize(("alias", "kind", "text"), BAD)
def test_aliases_that_cannot_be_meant_are_refused(alias: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        fastrpc.service("same", alias=alias)
    with pytest.raises(kind, match=text):
        fastrpc.method("same", alias=alias)


def test_an_alias_of_a_method_has_no_dots() -> None:
    with pytest.raises(ConfigError, match=r"'a\.b', which is not a method name"):
        fastrpc.method(alias=("a.b",))


def test_the_only_naming_of_rpcx_is_the_naming_of_go() -> None:
    for wrong in ("Go", "rust", True, ""):
        with pytest.raises(ConfigError, match="it must be 'go' or left out"):
            fastrpc.service("arith", rpcx=wrong)  # type: ignore[arg-type]


def test_a_name_longer_than_a_frame_carries_is_refused_as_an_alias_too() -> None:
    with pytest.raises(ConfigError, match="longer than 255 characters"):

        @fastrpc.service("short", alias=("s" * 250,))
        class Long:
            @fastrpc.method
            async def method(self) -> None: ...


def test_two_methods_of_one_alias_are_refused() -> None:
    with pytest.raises(TypeError, match=r"two methods called 'both', `a` and `b`"):

        @fastrpc.service("clash")
        class Clash:
            @fastrpc.method(alias=("both",))
            async def a(self) -> None: ...

            @fastrpc.method(alias=("both",))
            async def b(self) -> None: ...


def test_an_alias_that_is_the_name_of_another_method_is_refused() -> None:
    with pytest.raises(TypeError, match=r"two methods called 'b'"):

        @fastrpc.service("clash")
        class Clash:
            @fastrpc.method(alias=("b",))
            async def a(self) -> None: ...

            @fastrpc.method
            async def b(self) -> None: ...


def test_two_methods_of_one_name_in_go_are_refused() -> None:
    with pytest.raises(TypeError, match=r"two methods called 'GetID'"):

        @fastrpc.service("clash", rpcx="go")
        class Clash:
            @fastrpc.method
            async def get_id(self) -> None: ...

            @fastrpc.method
            async def getID(self) -> None: ...


def test_an_implementation_has_the_aliases_of_its_contract() -> None:
    @fastrpc.service("arith", alias=("sums",), rpcx="go")
    class Contract(Protocol):
        @fastrpc.method(alias=("times",))
        async def mul(self) -> int: ...

    @fastrpc.service("arith")
    class Derived(Contract):
        async def mul(self) -> int:
            return 1

    @fastrpc.service("arith", implements=Contract)
    class Alone:
        def mul(self) -> int:
            return 1

    expected = set(method_definition(Contract.mul).aliases)
    assert len(expected) == 8
    assert set(service_definition(Derived).methods["mul"].aliases) == expected
    assert set(service_definition(Alone).methods["mul"].aliases) == expected


def test_a_service_of_another_name_has_none_of_its_base() -> None:
    @fastrpc.service("other")
    class Other(Shop):
        pass

    assert service_definition(Other).names == ("other", (), None, None)
    assert service_definition(Other).methods["get"].aliases == ("other.fetch",)


def test_an_implementation_that_leaves_a_name_out_is_refused() -> None:
    @fastrpc.service("arith", alias=("sums",))
    class Contract(abc.ABC):
        @fastrpc.method(alias=("times",))
        @abc.abstractmethod
        async def mul(self) -> int: ...

    with pytest.raises(TypeError, match=r"is not called 'sums.mul', 'sums.times', in the contract it is"):

        @fastrpc.service("arith", implements=Contract, alias=("others",))
        class Alone:
            async def mul(self) -> int:
                return 1


def test_reflection_tells_aliases() -> None:
    told = describe(Shop)
    assert (told["alias"], told["aliases"], told["rpcx"]) == (
        ["Shop", "old.shop"],
        ["Shop", "old.shop"],
        None,
    )
    assert told["methods"][0]["alias"] == ["fetch"]
    assert "Shop.fetch" in told["methods"][0]["aliases"]


def test_pascal_names_are_aliases_as_schemas_of_grpc_have_them() -> None:
    @fastrpc.service("shop.v1.order_items", grpc="pascal")
    class Items:
        @fastrpc.method
        async def get_item(self) -> None: ...

        @fastrpc.method("URL")
        async def url(self) -> None: ...

    names = service_definition(Items).names
    assert names.of_service() == ("shop.v1.order_items", "shop.v1.OrderItems")
    assert method_definition(Items.get_item).names == ("get_item", "GetItem")
    assert method_definition(Items.url).names == ("URL",)
    assert (names.grpc_service, names.grpc_method("get_item")) == ("shop.v1.OrderItems", "GetItem")


def test_by_grpc_a_name_has_no_dash() -> None:
    @fastrpc.service("my-shop.all-items")
    class Items:
        @fastrpc.method("get-item")
        async def get_item(self) -> None: ...

    names = service_definition(Items).names
    assert (names.grpc_service, names.grpc_method("get-item")) == ("my_shop.all_items", "get_item")


def test_the_naming_of_grpc_is_inherited_with_the_name_of_the_service() -> None:
    @fastrpc.service("shop.items", grpc="pascal")
    class Contract:
        @fastrpc.method
        async def get(self) -> None: ...

    @fastrpc.service("shop.items", implements=Contract)
    class Items:
        async def get(self) -> None: ...

    assert service_definition(Items).names.grpc == "pascal"


def test_another_naming_of_grpc_is_refused() -> None:
    with pytest.raises(ConfigError, match="grpc is 'camel', it must be 'pascal' or left out"):
        fastrpc.service("shop", grpc="camel")
