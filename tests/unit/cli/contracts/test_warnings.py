"""What a contract cannot have as its service has it: each is named, and all else is written."""

from typing import Any

import msgspec
import pytest

from fastrpc.cli.contracts.check import changes
from fastrpc.cli.contracts.text import written_contract
from fastrpc.rpc.described_services import ServiceDescription, read_descriptions
from tests.support.contract_kinds import HEAD
from tests.unit.cli.contracts.test_round_trip import imported, told

MONEY = """
class Money: ...
fastrpc.types.register(Money, encode=lambda money: "x", decode=lambda text: Money())
"""


def served(kind: str, classes: str) -> Any:
    return imported(
        f"{HEAD}\nimport fastrpc.types\n{classes}\n\n@fastrpc.service('s')\nclass S:\n    @fastrpc.method\n"
        f"    async def f(self, value: {kind}) -> {kind}: ..."
    )


@pytest.mark.parametrize(
    ("kind", "classes", "warnings"),
    [
        ("Money", MONEY, ["s.f: Money cannot be written; it is Any"]),
        ("list[Money] | None", MONEY, ["s.f: Money cannot be written; it is Any"]),
        ("X", MONEY + "class X(Struct):\n    a: Money\n", ["X.a: Money cannot be written; it is Any"]),
        (
            "X",
            "class X(NamedTuple):\n    a: int\n    b: dict[str, X_DEFAULT] = object()\n".replace(
                "X_DEFAULT", "int"
            ),
            ["X: defaults cannot be written: b and all before have to be given"],
        ),
        (
            "X",
            "class X(Struct, array_like=True):\n    a: int\n    b: Any = msgspec.field(default_factory=object)\n",
            ["X: the default of b cannot be written: it has to be given"],
        ),
        (
            "X",
            "X = Enum('X', {'a b': 'a', 'class': 'b', 'c': 'c'})\n",
            ["X: its member a b is called m_a_b", "X: its member class is called m_class"],
        ),
        (
            "X",
            "class X(Enum):\n    A = 'a'\n    @classmethod\n    def _missing_(cls, value): return cls.A\n",
            ["X: its code takes other values, too (_missing_), which the contract does not"],
        ),
    ],
)
def test_it_is_named_and_the_contract_compatible(kind: str, classes: str, warnings: list[str]) -> None:
    source = served(kind, classes)
    written = written_contract(told(source.S))
    assert written.warnings == warnings
    contract = imported(written.text)
    for old, new in ((contract.S, source.S), (source.S, contract.S)):
        assert [one for one in changes(told(old), told(new)) if not one.is_compatible] == []


def test_another_class_of_its_own_is_not_the_same() -> None:
    cash = MONEY.replace("Money", "Cash")
    found = list(changes(told(served("Money", MONEY).S), told(served("Cash", cash).S)))
    assert [one.is_compatible for one in found if "not every Money is Cash" in one.text] == [False]


def test_a_message_of_protobuf_is_imported_where_protoc_wrote_it() -> None:
    pytest.importorskip("google.protobuf")
    source = served("Timestamp", "from google.protobuf.timestamp_pb2 import Timestamp")
    written = written_contract(told(source.S))
    assert written.warnings == []
    assert "async def f(self, value: Timestamp) -> Timestamp: ..." in written.text
    contract = imported(written.text)
    assert contract.Timestamp is source.Timestamp
    assert list(changes(told(contract.S), told(source.S))) == []
    other = served("Duration", "from google.protobuf.duration_pb2 import Duration")
    assert any(not one.is_compatible for one in changes(told(contract.S), told(other.S)))


def message(module: str, name: str = "shop.Order") -> list[ServiceDescription]:
    """Return a server's description of a method with a protobuf message."""
    method = {"name": "f", "full_name": "s.f", "signature": "", "documentation": "", "kind": "unary"}
    options = {"module": module, "message": name}
    service = {
        "name": "s",
        "version": None,
        "documentation": "",
        "methods": [method | {"parameters": [], "result": "Order"}],
        "types": [{"name": "Order", "kind": "protobuf", "options": options}],
    }
    return read_descriptions([service], "a test")


def test_a_message_of_the_program_is_named() -> None:
    written = written_contract(message("shop.orders_pb2"))
    assert "from shop.orders_pb2 import Order\n" in written.text
    assert written.warnings == [
        "s.f: Order is a protobuf message: the contract imports it from shop.orders_pb2, which protoc writes"
    ]


@pytest.mark.parametrize("module", ["os", "shop.orders", "", "a; import os_pb2", "..x_pb2", "__main__"])
def test_no_other_module_is_imported(module: str) -> None:
    written = written_contract(message(module))
    assert "-> Any: ..." in written.text
    assert written.warnings == ["s.f: Order cannot be written; it is Any"]
    imported(written.text)


def test_attrs_classes_are_written_as_dataclasses() -> None:
    pytest.importorskip("attrs")
    classes = (
        "import attrs\n@attrs.define(frozen=True)\nclass X:\n    a: int\n    b: list[int] = attrs.field(factory=list)\n"
        "    c: int = attrs.field(default=3, kw_only=True)\n"
    )
    source = served("X", classes)
    written = written_contract(told(source.S))
    assert written.warnings == []
    contract = imported(written.text)
    assert list(changes(told(contract.S), told(source.S))) == []
    made = contract.X(1, [2], c=4)
    assert msgspec.convert(msgspec.to_builtins(made), source.X) == source.X(1, [2], c=4)
    with pytest.raises(AttributeError):
        made.a = 2


def test_two_classes_of_one_name_in_two_services_are_two() -> None:
    first = served("X", "class X(Struct):\n    a: int\n").S
    second = imported(
        f"{HEAD}\nclass X(Struct):\n    b: str\n\n@fastrpc.service('t')\nclass S:\n    @fastrpc.method\n"
        "    async def f(self, value: X) -> X: ..."
    ).S
    written = written_contract(told(first, second))
    assert written.warnings == []
    assert "    async def f(self, value: X) -> X: ..." in written.text
    assert "    async def f(self, value: X2) -> X2: ..." in written.text
    contract = imported(written.text)
    assert list(changes(told(contract.S, contract.T), told(first, second))) == []


def test_a_server_of_an_earlier_version_that_made_them_one_is_named() -> None:
    first, second = (
        told(served("X", f"class X(Struct):\n    {field}\n").S)[0] for field in ("a: int", "b: str")
    )
    second.name = "t"
    written = written_contract([first, second])
    assert written.warnings == ["t: another class is called X, too; the first one is written"]


HOSTILE = [
    "Decimal('x')",
    "UUID('x')",
    "bytearray(10**12)",
    "bytearray(99999999999999)",
    "date(0, 0, 0)",
    "timedelta(days=10**20)",
    "X.c",
    "X('z')",
    "X.__class__",
    "Decimal",
    "Decimal(print(1))",
    "Decimal.from_float(1.0)",
    "os.system('x')",
    "datetime.now()",
    "{[]: 1}",
    "{**{}}",
    "f'{1}'",
    "[x for x in ()]",
    "(lambda: 1)()",
    "float(*[1])",
    "float(**{})",
    "set(1)",
]


@pytest.mark.parametrize("default", HOSTILE)
def test_a_default_that_cannot_be_made_is_left_to_the_server(default: str) -> None:
    classes = "class X(Enum):\n    A = 'a'\nclass Y(Struct):\n    a: X = X.A\n"
    described = told(served("Y", classes).S)
    next(one for one in described[0].types if one.name == "Y").fields[0].default = default
    text = written_contract(described).text
    assert "    a: X | msgspec.UnsetType = msgspec.UNSET\n" in text
    assert imported(text).Y().a is msgspec.UNSET


def test_descriptions_of_earlier_versions_are_written() -> None:
    """They have neither constraints, nor options of dataclasses and enums, nor generic classes."""
    fields = [
        {"name": "a", "wire_name": "a", "type": "int", "required": True, "default": None},
        {"name": "b", "wire_name": "b", "type": "Color", "required": False, "default": "..."},
        {"name": "c", "wire_name": "c", "type": "Box[int]", "required": False, "default": "None"},
    ]
    service = {
        "name": "s",
        "version": None,
        "documentation": "",
        "methods": [
            {
                "name": "f",
                "full_name": "s.f",
                "signature": "",
                "documentation": "",
                "kind": "unary",
                "parameters": [{"name": "x", "type": "Item", "required": True, "default": None}],
                "result": "Item",
            }
        ],
        "types": [
            {"name": "Item", "kind": "dataclass", "fields": fields, "options": {}},
            {"name": "Color", "kind": "enum", "values": {"RED": "red"}},
        ],
    }
    described = read_descriptions([service], "a test")
    written = written_contract(described)
    assert written.warnings == ["Item.c: Box[int] cannot be written; it is Any"]
    contract = imported(written.text)
    assert contract.Item(1).c is None
    assert [
        one for one in changes(told(contract.S), described) if not one.is_compatible and "Box" not in one.text
    ] == []
