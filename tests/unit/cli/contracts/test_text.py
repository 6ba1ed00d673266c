"""The source that `fastrpc contract` writes: complete, importable, and free of other code for any description."""

import ast
import itertools
import re
import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest

from fastrpc.cli.contracts.check import changes
from fastrpc.cli.contracts.text import contract_text
from fastrpc.rpc.contract import differences
from fastrpc.rpc.described_services import ServiceDescription
from fastrpc.rpc.description import describe
from fastrpc.rpc.service import service_definition

_numbers = itertools.count()

#: The fields that every server sends.
METHOD = {"name": "f", "full_name": "s.f", "signature": "", "documentation": "", "kind": "unary"}
SERVICE = {"name": "s", "version": None, "documentation": ""}

SOURCE = '''
import datetime, enum, uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict
import msgspec
import fastrpc

class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Level(enum.IntEnum):
    LOW = 1

@dataclass
class Node:
    value: Decimal
    children: "list[Node]" = field(default_factory=list)
    label: str = "it's \\"quoted\\""
    made: datetime.datetime = datetime.datetime(2020, 1, 1)
    options: "Options | None" = None

class Options(TypedDict):
    strict: bool
    node: NotRequired[Node]

class Point(NamedTuple):
    x: int
    y: float = 0.5

class Cat(msgspec.Struct, tag=True, rename="camel", forbid_unknown_fields=True):
    long_name: str
    colors: list[Color] = []
    born_on: datetime.date | None = None

@fastrpc.service("shop.v1.arith", version="1.2")
class Arith:
    """Sums.

    More of it."""

    @fastrpc.method(idempotent=True, timeout=2.5, renamed={"old": "a", "older": "a"}, http="PUT /f/{d}")
    async def mul(self, a: int, b: int = 2, /, c: Node | None = None, *, d: Color = Color.RED) -> dict[str, Cat]:
        """Multiply."""

    @fastrpc.method("re-name")
    def other(self, options: Options, points: list[Point], key: uuid.UUID, mode: Literal["a", 1] = "a") -> None: ...

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes: ...

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[Point]:
        yield Point(1)

    @fastrpc.method
    async def talk(self, room: str, lines: AsyncIterator[str], level: Level = Level.LOW) -> AsyncIterator[Any]:
        yield 1

    @fastrpc.method
    async def untyped(self, a, b=object()): ...
'''


PLAIN = """
import fastrpc

@fastrpc.service("plain")
class Plain:
    @fastrpc.method
    async def f(self, a: int, b: str = "", *, c: list[int] | None = None) -> int: ...
"""


def imported(source: str) -> ModuleType:
    """Run source as a separate module."""
    module = ModuleType(f"contract_{next(_numbers)}")
    sys.modules[module.__name__] = module
    exec(compile(source, module.__name__, "exec", dont_inherit=True), vars(module))
    return module


def told(service: Any) -> list[ServiceDescription]:
    return msgspec.convert(
        msgspec.json.decode(msgspec.json.encode([describe(service)])), list[ServiceDescription]
    )


def service(**changes: Any) -> list[ServiceDescription]:
    """Return a random description of a server."""
    method = {**METHOD, "parameters": [], "result": "int"} | changes.pop("method", {})
    return msgspec.convert([{**SERVICE, "methods": [method], **changes}], list[ServiceDescription])


def test_a_contract_describes_the_same_as_its_service() -> None:
    arith = imported(SOURCE).Arith
    contract = imported(contract_text(told(arith))).ShopV1Arith
    assert list(changes(told(arith), told(contract))) == []
    assert list(changes(told(contract), told(arith))) == []
    assert told(contract)[0].version == "1.2"


def test_a_contract_of_a_contract_is_the_same() -> None:
    text = contract_text(told(imported(SOURCE).Arith))
    assert contract_text(told(imported(text).ShopV1Arith)) == text


def test_the_service_keeps_its_contract() -> None:
    # Their classes are two: the set of types is compared by their descriptions, above.
    served = imported(PLAIN).Plain
    contract = imported(contract_text(told(served))).Plain
    assert list(differences(service_definition(served), service_definition(contract))) == []


def test_methods_of_a_contract_without_a_loop_are_plain() -> None:
    text = contract_text(told(imported(SOURCE).Arith), is_sync=True)
    assert "async def" not in text
    assert "def count(self, limit: int) -> Iterator[Point]: ..." in text
    assert list(changes(told(imported(SOURCE).Arith), told(imported(text).ShopV1Arith))) == []


def test_a_method_is_written_as_one_would_write_it() -> None:
    text = contract_text(told(imported(SOURCE).Arith))
    assert (
        '    @fastrpc.method(idempotent=True, timeout=2.5, renamed={"old": "a", "older": "a"}, http="PUT /f/{d}")'
        in text
    )
    assert '        """Multiply."""' in text
    assert '    @fastrpc.method("re-name")\n    async def other(' in text
    assert "    def count(self, limit: int) -> AsyncIterator[Point]: ..." in text
    assert "    async def untyped(self, a: Any, b: Any = ...) -> Any: ..." in text
    ast.parse(text)


def test_definitions_that_grpc_needs_are_written() -> None:
    source = """
from dataclasses import dataclass
from typing import Annotated
import fastrpc

@dataclass
class Item:
    id: Annotated[int, fastrpc.Field(7, kind="sint64")]
    price: Annotated[float, fastrpc.Field(kind="float")] = 0.5

@fastrpc.service("shop.items", grpc="pascal")
class Items:
    @fastrpc.method
    async def put(self, item: Item, count: Annotated[int, fastrpc.Field(3)]) -> None: ...
"""
    text = contract_text(told(imported(source).Items))
    assert '@fastrpc.service("shop.items", grpc="pascal")' in text
    assert "id: Annotated[int, fastrpc.Field(7, kind='sint64')]" in text
    assert "price: Annotated[float, fastrpc.Field(kind='float')] = 0.5" in text
    assert "count: Annotated[int, fastrpc.Field(3)]" in text
    assert contract_text(told(imported(text).ShopItems)) == text


@pytest.mark.parametrize("is_sync", [False, True])
def test_forms_and_tools_are_written(is_sync: bool) -> None:
    source = """
import fastrpc

@fastrpc.service("photos")
class Photos:
    @fastrpc.method(http="POST /albums/{album}/photos")
    async def put(self, photo: fastrpc.Upload, album: str, title: str = "") -> str: ...

    @fastrpc.method(safe=True, tool=True)
    async def count(self, album: str) -> int: ...
"""
    served = imported(source).Photos
    text = contract_text(told(served), is_sync=is_sync)
    assert 'def put(self, photo: fastrpc.Upload, album: str, title: str = "") -> str: ...' in text
    assert "    @fastrpc.method(safe=True, tool=True)\n" in text
    contract = imported(text).Photos
    assert [*changes(told(served), told(contract)), *changes(told(contract), told(served))] == []
    assert contract_text(told(contract), is_sync=is_sync) == text


def test_several_services_share_their_classes() -> None:
    arith = told(imported(SOURCE).Arith)[0]
    other = msgspec.structs.replace(arith, name="color")
    module = imported(contract_text([arith, other]))
    assert service_definition(module.ColorService).name == "color"
    assert contract_text([arith, other]).count("class Color(Enum)") == 1


BAD_NAMES = [
    "a: int = print(1)",
    "import os",
    "a\n    import os",
    "__class__",
    "class",
    "",
    "a b",
    "ä\u202e",
    "a=1",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_invalid_names_leave_a_comment(name: str) -> None:
    parameter = {"name": name, "type": "int", "required": True}
    for found in (
        service(method={"parameters": [parameter]}),
        service(method={"kind": "client_stream", "stream": {"name": name, "type": "int", "position": 0}}),
    ):
        text = contract_text(found)
        assert "    # f cannot be written in Python: " in text
        assert text.isascii()
        assert runs_nothing(text)
    fields = service(
        types=[{"name": "T", "kind": "dataclass", "fields": [parameter]}], method={"result": "T"}
    )
    assert "T = Any  # it cannot be written in Python" in contract_text(fields)
    assert runs_nothing(contract_text(fields))


HOSTILE = [
    '"""\nimport os\nos.system("x")\n"""',
    "\\",
    '\\"""',
    "\x1b]0;title\x07",
    "'; import os #",
    "\u202e\u2028import os",
    "a\rimport os",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_a_server_run_no_code(text: str) -> None:
    parameter = {"name": "a", "type": text, "required": False, "default": text}
    method = {
        "attribute": text,
        "parameters": [parameter],
        "result": text,
        "documentation": text,
        "codec": text,
        "renamed": {text: text},
    }
    classes = [
        {"name": text, "kind": "dataclass", "fields": []},
        {"name": "E", "kind": "enum", "values": {text: text, "A": text}},
        {"name": "S", "kind": "struct", "options": {text: text, "tag": text}, "fields": []},
        {
            "name": "F",
            "kind": "struct",
            "fields": [{"name": "a", "type": text, "required": False, "default": text, "wire_name": text}],
        },
    ]
    found = service(name=text, version=text, documentation=text, types=classes, method=method)
    found += service(method={"name": text})
    source = contract_text(found)
    assert runs_nothing(source)
    assert source.isascii()
    assert all(character.isprintable() or character == "\n" for character in source)


def runs_nothing(source: str) -> bool:
    """Whether a module holds only imports for contracts, classes, and literals, and calls only markers and `field`."""
    calls = {"fastrpc.service", "fastrpc.method", "field", "msgspec.field"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) not in calls:
            return False
        if isinstance(node, ast.Import | ast.ImportFrom) and node.col_offset:
            return False
        if isinstance(node, ast.Import) and ast.unparse(node) not in {"import fastrpc", "import msgspec"}:
            return False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not is_stub(node):
            return False
    return True


def is_stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return len(function.body) == 1 and isinstance(function.body[0], ast.Expr)


@pytest.mark.parametrize(
    "default", ["print(1)", "__import__('os')", "[]", "1 if 1 else 2", "x" * 10_000, "inf", "(" * 999]
)
def test_defaults_that_are_no_literals_are_not_written(default: str) -> None:
    parameter = {"name": "a", "type": "int", "required": False, "default": default}
    assert "async def f(self, a: int = ...) -> int: ..." in contract_text(
        service(method={"parameters": [parameter]})
    )


@pytest.mark.parametrize(
    "kind", ["print(1)", "os.system", "Unknown", "Unknown[int]", "list[Unknown]", "int |", "lambda: 1"]
)
def test_types_that_are_not_known_become_any(kind: str) -> None:
    parameter = {"name": "a", "type": kind, "required": True}
    text = contract_text(service(method={"parameters": [parameter]}))
    expected = "list[Any]" if kind.startswith("list") else "Any"
    assert f"async def f(self, a: {expected}) -> int: ..." in text
    imported(text)


def test_parameters_that_no_signature_has_leave_a_comment() -> None:
    twice = [{"name": "a", "type": "int", "required": True}] * 2
    # CPython 3.15 says "parameter".
    assert re.search(
        "# f cannot be written in Python: duplicate (argument|parameter)",
        contract_text(service(method={"parameters": twice})),
    )
    disordered = [
        {"name": "a", "type": "int", "required": False, "default": "1"},
        {"name": "b", "type": "int", "required": True},
    ]
    assert "# f cannot be written in Python: " in contract_text(service(method={"parameters": disordered}))


@pytest.mark.parametrize("kind", ["dataclass", "struct", "named_tuple"])
def test_an_unknown_default_is_not_made_up(kind: str) -> None:
    fields = [
        {"name": "a", "type": "int", "required": False, "default": "1"},
        {"name": "b", "type": "int", "required": False, "default": "..."},
        {"name": "c", "type": "int", "required": True},
    ]
    found = service(types=[{"name": "T", "kind": kind, "fields": fields}], method={"result": "T"})
    cls = imported(contract_text(found)).T
    with pytest.raises(TypeError):
        cls(1)
    made = cls(1, 2, 3) if kind == "named_tuple" else cls(b=2, c=3)
    assert (made.a, made.b, made.c) == (1, 2, 3)


def test_a_long_chain_of_classes_is_written() -> None:
    types = [
        {
            "name": f"T{n}",
            "kind": "dataclass",
            "fields": [{"name": "next", "type": f"T{n + 1}", "required": True}],
        }
        for n in range(5_000)
    ]
    text = contract_text(service(types=types, method={"result": "T0"}))
    assert text.index("class T4999:") < text.index("class T0:")


@pytest.mark.parametrize("name", ["list", "set", "str", "int", "date", "Node", "fastrpc", "Protocol"])
def test_a_method_named_like_a_type_leaves_the_type_alone(name: str) -> None:
    source = (
        "import fastrpc\nfrom dataclasses import dataclass\nfrom datetime import date\n\n"
        "@dataclass\nclass Node:\n    a: int\n\n"
        "@fastrpc.service('s')\nclass S:\n"
        f"    @fastrpc.method({name!r})\n"
        "    async def named(self) -> list[str]: ...\n"
        "    @fastrpc.method\n"
        "    async def other(self, a: list[int], b: set[int], c: str, d: date) -> Node: ...\n"
    )
    described = told(imported(source).S)
    described[0].methods[0].attribute = name
    text = contract_text(described)
    assert f'@fastrpc.method("{name}")\n    async def {name}_(self)' in text
    assert list(changes(described, told(imported(text).S))) == []


@pytest.mark.parametrize("options", ["omit_defaults=True", "kw_only=True, omit_defaults=True, tag=True"])
def test_a_contract_reads_a_struct_that_omits_its_defaults(options: str) -> None:
    source = (
        "import fastrpc, msgspec\nfrom decimal import Decimal\n\n"
        f"class Price(msgspec.Struct, {options}):\n"
        "    name: str\n"
        "    amount: Decimal = Decimal(0)\n"
        "    rows: list[int] = msgspec.field(default_factory=lambda: [1], name='lines')\n"
        "    count: int = 1\n\n"
        "@fastrpc.service('s')\nclass S:\n"
        "    @fastrpc.method\n"
        "    async def f(self, price: Price) -> Price: ...\n"
    )
    served = imported(source)
    contract = imported(contract_text(told(served.S)))
    assert list(changes(told(served.S), told(contract.S))) == []
    received = msgspec.json.decode(msgspec.json.encode(served.Price(name="a")), type=contract.Price)
    assert (received.name, received.count) == ("a", 1)
    assert received.amount == served.Decimal(0)
    sent = msgspec.json.encode(contract.Price(name="b"))
    assert msgspec.json.decode(sent, type=served.Price) == served.Price(name="b")


ALIASED = """
import fastrpc

@fastrpc.service("old.arith", alias=("Sums", "Arithmetic"), rpcx="go")
class Arith:
    @fastrpc.method(alias=("times",))
    async def mul(self, a: int) -> int:
        return a
"""


def test_a_contract_keeps_aliases() -> None:
    described = told(imported(ALIASED).Arith)
    text = contract_text(described)
    assert '@fastrpc.service("old.arith", alias=("Sums", "Arithmetic",), rpcx="go")' in text
    assert '@fastrpc.method(alias=("times",))' in text
    assert list(changes(described, told(imported(text).OldArith))) == []


def test_an_unknown_naming_is_not_written() -> None:
    assert "rpcx" not in contract_text(service(rpcx="later"))
