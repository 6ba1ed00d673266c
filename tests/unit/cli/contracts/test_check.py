"""Which changes of a service `fastrpc contract --check` calls compatible."""

import itertools
import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest

from fastrpc.cli.contracts.check import ContractChange, changes
from fastrpc.rpc.described_services import ServiceDescription
from fastrpc.rpc.description import describe

HEAD = """
import datetime, decimal, enum, uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NotRequired, Optional, TypedDict, Union
import msgspec
import fastrpc
from fastrpc import method
"""

_numbers = itertools.count()

#: The fields that every server sends.
METHOD = {"name": "f", "full_name": "s.f", "signature": "", "documentation": "", "kind": "unary"}
SERVICE = {"name": "s", "version": None, "documentation": ""}


def described(body: str, classes: str = "") -> list[ServiceDescription]:
    """Return a server's description of the service `s` whose class has this body."""
    lines = "\n".join(f"    {line}" for line in (body or "pass").splitlines())
    module = ModuleType(f"described_{next(_numbers)}")
    sys.modules[module.__name__] = module
    exec(f"{HEAD}\n{classes}\n\n@fastrpc.service('s')\nclass Service:\n{lines}\n", vars(module))
    told = msgspec.json.decode(msgspec.json.encode([describe(vars(module)["Service"])]))
    return msgspec.convert(told, list[ServiceDescription])


def one(signature: str, options: str = "") -> str:
    return f"@method{f'({options})' if options else ''}\nasync def f(self{signature}: ..."


def found(old: str, new: str, old_classes: str = "", new_classes: str | None = None) -> list[ContractChange]:
    after = old_classes if new_classes is None else new_classes
    return list(changes(described(old, old_classes), described(new, after)))


def breaks(*arguments: Any) -> str:
    """Return the texts of the incompatible changes; there is at least one."""
    texts = [change.text for change in found(*arguments) if not change.is_compatible]
    assert texts
    return "\n".join(texts)


def passes(*arguments: Any) -> list[str]:
    """Return the texts of the changes; all of them are compatible."""
    texts = found(*arguments)
    assert [change for change in texts if not change.is_compatible] == []
    return [change.text for change in texts]


INCOMPATIBLE: list[tuple[str, str, str]] = [
    (", a: int, b: str) -> int", ", b: str, a: int) -> int", "number 1, now it is number 2"),
    (", a: int) -> int", ", b: int) -> int", "called 'b' now: keep the old name by renamed={'a': 'b'}"),
    (", a: int, b: int = 1) -> int", ", a: int) -> int", "parameter 'b' is gone"),
    (", a: int) -> int", ") -> int", "parameter 'a' is gone"),
    (", a: int) -> int", ", a: int, b: int) -> int", "'b' is new and has no default"),
    (", a: int = 1) -> int", ", a: int) -> int", "no longer has a default"),
    (", a: int, b: int = 1) -> int", ", a: int, x: int = 0, b: int = 1) -> int", "'b' was number 2"),
    (", a: int) -> int", ", *, a: int) -> int", "can no longer be given by position"),
    (", a: int) -> int", ", a: int, /) -> int", "can no longer be given by name"),
    (", a: int) -> int", ", a: str) -> int", "'a' takes less: not every int is str"),
    (", a: int | None) -> int", ", a: int) -> int", "'a' takes less: not every None is int"),
    (", a: float) -> int", ", a: int) -> int", "not every float is int"),
    (", a) -> int", ", a: int) -> int", "not every Any is int"),
    (", a: list) -> int", ", a: list[int]) -> int", "not every Any is int"),
    (", a: list[int | str]) -> int", ", a: list[int]) -> int", "not every str is int"),
    (", a: dict[str, int]) -> int", ", a: dict[str, str]) -> int", "not every int is str"),
    (", a: list[int]) -> int", ", a: tuple[int, int]) -> int", "not every list[int] is tuple[int, int]"),
    (", a: Literal['x', 'y']) -> int", ", a: Literal['x']) -> int", "'y' is not one of Literal['x']"),
    (", a: str) -> int", ", a: Literal['x']) -> int", "not every str is Literal['x']"),
    (", a: bool) -> int", ", a: int) -> int", "not every bool is int"),
    (") -> int", ") -> str", "the result differs: not every str is int"),
    (") -> int", ") -> int | None", "the result differs: not every None is int"),
    (") -> int", ")", "the result differs: not every Any is int"),
    (") -> list[int]", ") -> list[float]", "not every float is int"),
    (") -> datetime.datetime", ") -> str", "not every str is datetime"),
]


@pytest.mark.parametrize(("old", "new", "text"), INCOMPATIBLE)
def test_a_change_that_breaks_callers(old: str, new: str, text: str) -> None:
    assert text in breaks(one(old), one(new))


COMPATIBLE: list[tuple[str, str, str]] = [
    (", a: int) -> int", ", a: int, b: int = 1) -> int", "'b' is new, with a default"),
    (", a: int) -> int", ", a: int, *, b: int = 1) -> int", "'b' is new, with a default"),
    (", a: int) -> int", ", a: int = 0) -> int", "'a' has a default now"),
    (", a: int = 0) -> int", ", a: int = 1) -> int", "the default was 0, now it is 1"),
    (", a: int) -> int", ", a: int | None) -> int", "'a' was int, now it is int | None"),
    (", a: int) -> int", ", a: float) -> int", "now it is float"),
    (", a: int) -> int", ", a) -> int", "now it is Any"),
    (", a: list[int]) -> int", ", a: Sequence[int | str]) -> int", "now it is Sequence"),
    (", a: tuple[int, str]) -> int", ", a: list[int | str]) -> int", "now it is list"),
    (", a: Literal['x']) -> int", ", a: str) -> int", "now it is str"),
    (", a: Literal['x']) -> int", ", a: Literal['y', 'x']) -> int", "now it is Literal"),
    (", a: int, /) -> int", ", a: int) -> int", ""),
    (", *, a: int) -> int", ", a: int) -> int", ""),
    (") -> int | None", ") -> int", "the result was int | None, now it is int"),
    (") -> float", ") -> int", "the result was float"),
    (")", ") -> int", "the result was Any"),
    (", a: Optional[int]) -> int", ", a: None | int) -> int", ""),
]


@pytest.mark.parametrize(("old", "new", "text"), COMPATIBLE)
def test_a_change_that_callers_do_not_notice(old: str, new: str, text: str) -> None:
    texts = passes(one(old), one(new))
    assert any(text in each for each in texts) or not text


def test_equal_contracts_have_no_change() -> None:
    body = one(
        ", a: int, b: list[str] | None = None, *, c: float = 1.5) -> dict[str, int]", "idempotent=True"
    )
    assert found(body, body) == []


def test_a_parameter_renamed_with_its_old_name_kept() -> None:
    old = one(", source: str, target: str) -> int")
    renamed = "renamed={'source': 'payer', 'target': 'payee'}"
    texts = passes(old, one(", payer: str, payee: str) -> int", renamed))
    assert texts == [
        "parameter 'source' is called 'payer' now, its old name is kept",
        "parameter 'target' is called 'payee' now, its old name is kept",
    ]
    assert "was number 1, now it is number 2" in "".join(
        change.text for change in found(old, one(", payee: str, payer: str) -> int", renamed))
    )


def test_a_dropped_old_name_is_incompatible() -> None:
    kept = one(", payer: str) -> int", "renamed={'source': 'payer'}")
    assert breaks(kept, one(", payer: str) -> int")) == (
        "the old name 'source' of parameter 'payer' is no longer kept"
    )
    again = one(", buyer: str) -> int", "renamed={'source': 'buyer', 'payer': 'buyer'}")
    assert passes(kept, again) == ["parameter 'payer' is called 'buyer' now, its old name is kept"]
    other = one(", payer: str, who: str = '') -> int", "renamed={'source': 'who'}")
    assert breaks(kept, other) == "the old name 'source' of parameter 'payer' means 'who' now"


def test_a_method_is_removed_or_added() -> None:
    both = f"{one(') -> int')}\n@method\nasync def g(self) -> int: ..."
    assert breaks(both, one(") -> int")) == "the method is gone"
    assert passes(one(") -> int"), both) == ["the method is new"]


def test_a_service_is_removed_or_added() -> None:
    service = described(one(") -> int"))
    assert list(changes(service, [])) == [ContractChange("s", "the service is gone", False)]
    assert list(changes([], service)) == [ContractChange("s", "the service is new", True)]


def test_a_second_name_of_a_method_in_the_class_is_not_a_change() -> None:
    assert found(one(") -> int"), "@method('f')\nasync def other(self) -> int: ...") == []


def test_options_that_callers_rely_on() -> None:
    plain = one(", a: int) -> int")
    assert "no longer idempotent" in breaks(one(", a: int) -> int", "idempotent=True"), plain)
    assert passes(plain, one(", a: int) -> int", "idempotent=True")) == ["it is idempotent now"]


def test_a_route_may_be_added_and_not_removed() -> None:
    plain, routed = one(", a: int) -> int"), one(", a: int) -> int", "http='PUT /x/{a}'")
    assert passes(plain, routed) == ["it is at PUT /x/{a}, too"]
    assert breaks(routed, plain) == "it is no longer at PUT /x/{a}"
    moved = one(", a: int) -> int", "http='PUT /y/{a}'")
    assert breaks(routed, moved) == "it is no longer at PUT /x/{a}"
    raw = "@method(codec='raw')\nasync def f(self, data: bytes) -> bytes: ..."
    assert "the codec was raw, now it is None" in breaks(raw, one(", data: bytes) -> bytes"))
    assert passes(plain, one(", a: int) -> int", "timeout=3")) == ["the timeout was None, now it is 3.0"]


def test_a_tool_may_be_added_and_not_removed() -> None:
    plain, tool = one(", a: int) -> int"), one(", a: int) -> int", "tool=True")
    assert passes(plain, tool) == ["it is a tool of language models now"]
    assert breaks(tool, plain) == "it is no longer a tool of language models"


def test_the_file_of_a_form_may_be_added_and_not_removed() -> None:
    plain, upload = one(", photo: AsyncIterator[bytes]) -> int"), one(", photo: fastrpc.Upload) -> int")
    assert passes(plain, upload) == ["the stream is an Upload now: it may come as a form"]
    assert breaks(upload, plain) == "the stream is no longer an Upload: forms are refused"


def test_another_kind_of_call() -> None:
    stream = "@method\nasync def f(self, n: int) -> AsyncIterator[int]:\n    yield n"
    assert breaks(one(", n: int) -> int"), stream) == "it was unary, now it is server_stream"
    wider = "@method\nasync def f(self, n: int) -> AsyncIterator[float]:\n    yield n"
    assert breaks(stream, wider) == "the result differs: not every float is int"
    assert passes(wider, stream) == ["the result was float, now it is int"]


def test_the_stream_of_the_caller() -> None:
    old = "@method\nasync def f(self, rows: AsyncIterator[int], n: int) -> int: ..."
    other = "@method\nasync def f(self, lines: AsyncIterator[float], n: int) -> int: ..."
    assert passes(old, other) == [
        "the stream was int, now it is float",
        "the stream 'rows' is called 'lines' now",
    ]
    assert breaks(other, old) == "the stream takes less: not every float is int"
    moved = "@method\nasync def f(self, n: int, rows: AsyncIterator[int]) -> int: ..."
    assert passes(old, moved) == ["the stream is at another position"]


OF_EACH_KIND = {
    "unary": "@method\nasync def f(self, n: int) -> int: ...",
    "server_stream": "@method\nasync def f(self, n: int) -> AsyncIterator[int]:\n    yield n",
    "client_stream": "@method\nasync def f(self, n: int, rows: AsyncIterator[int]) -> int: ...",
    "both_ways": "@method\nasync def f(self, n: int, rows: AsyncIterator[int]) -> AsyncIterator[int]:\n    yield n",
}


@pytest.mark.parametrize(("old", "new"), [*itertools.permutations(OF_EACH_KIND, 2)])
def test_every_change_of_the_kind_breaks_callers(old: str, new: str) -> None:
    assert breaks(OF_EACH_KIND[old], OF_EACH_KIND[new]) == f"it was {old}, now it is {new}"


TAKES = one(", value: T) -> int")
GIVES = one(") -> T")
KINDS = {
    "dataclass": "@dataclass\nclass T:\n    ",
    "struct": "class T(msgspec.Struct, kw_only=True):\n    ",
    "typed_dict": "class T(TypedDict):\n    ",
}


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_a_class_that_is_an_argument(kind: str) -> None:
    head = KINDS[kind]
    old = f"{head}a: int"
    optional = "b: NotRequired[int]" if kind == "typed_dict" else "b: int = 0"
    assert passes(TAKES, TAKES, old, f"{old}\n    {optional}") == []
    assert "T.b is required, T has no such field" in breaks(TAKES, TAKES, old, f"{head}b: int\n    a: int")
    assert "T.b is gone: its value is ignored" in breaks(TAKES, TAKES, f"{old}\n    {optional}", old)
    assert "T.a: not every int is str" in breaks(TAKES, TAKES, old, f"{head}a: str")
    assert passes(TAKES, TAKES, old, f"{head}a: int | str") == []


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_a_class_that_is_a_result(kind: str) -> None:
    head = KINDS[kind]
    old = f"{head}a: int"
    assert passes(GIVES, GIVES, old, f"{head}b: int\n    a: int") == []
    assert "T.b is required, T has no such field" in breaks(GIVES, GIVES, f"{head}b: int\n    a: int", old)
    assert "not every str is int" in breaks(GIVES, GIVES, old, f"{head}a: str")
    assert "not every None is int" in breaks(GIVES, GIVES, old, f"{head}a: int | None")


def test_classes_of_another_kind_with_the_same_payload() -> None:
    fields = "a: int\n    b: str"
    assert passes(TAKES, TAKES, KINDS["dataclass"] + fields, KINDS["struct"] + fields) == []
    row = f"class T(NamedTuple):\n    {fields}"
    assert "a map of fields, not a row of values" in breaks(TAKES, TAKES, KINDS["dataclass"] + fields, row)
    assert passes(TAKES, TAKES, row, f"class T(msgspec.Struct, array_like=True):\n    {fields}") == []


def test_rows_of_values_keep_their_order() -> None:
    row = "class T(NamedTuple):\n    "
    texts = found(TAKES, TAKES, f"{row}a: int\n    b: int", f"{row}b: int\n    a: int")
    assert [change.text for change in texts if not change.is_compatible] == [
        "parameter 'value' takes less: T.a arrives as T.b",
        "parameter 'value' takes less: T.b arrives as T.a",
    ]


def test_enums_and_tags() -> None:
    small = "class T(enum.Enum):\n    A = 'a'"
    large = f"{small}\n    B = 'b'"
    assert passes(TAKES, TAKES, small, large) == []
    assert "T has no B ('b')" in breaks(TAKES, TAKES, large, small)
    assert "T has no B ('b')" in breaks(GIVES, GIVES, small, large)
    assert passes(GIVES, GIVES, large, small) == []
    tagged = "class T(msgspec.Struct, tag='t'):\n    a: int"
    assert "tag" in breaks(TAKES, TAKES, "class T(msgspec.Struct):\n    a: int", tagged)


def test_names_on_the_wire_count_not_those_in_the_class() -> None:
    plain = "class T(msgspec.Struct):\n    longName: int"
    assert passes(TAKES, TAKES, plain, "class T(msgspec.Struct, rename='camel'):\n    long_name: int") == []


def test_classes_that_mention_each_other() -> None:
    tree = "@dataclass\nclass T:\n    value: int\n    next: 'T | None' = None"
    assert passes(TAKES, TAKES, tree, tree) == []
    assert "T.value: not every int is str" in breaks(TAKES, TAKES, tree, tree.replace("int", "str"))


def test_a_chain_of_classes_is_compared_as_far_as_it_goes() -> None:
    def chain(length: int) -> list[ServiceDescription]:
        return msgspec.convert(
            [
                {
                    **SERVICE,
                    "methods": [
                        {
                            **METHOD,
                            "result": "int",
                            "parameters": [{"name": "a", "type": "T0", "required": True}],
                        }
                    ],
                    "types": [
                        {
                            "name": f"T{n}",
                            "kind": "dataclass",
                            "fields": [{"name": "next", "type": f"T{n + 1}", "required": True}],
                        }
                        for n in range(length)
                    ],
                }
            ],
            list[ServiceDescription],
        )

    assert list(changes(chain(10), chain(10))) == []
    assert "too deep" in next(iter(changes(chain(5_000), chain(5_000)))).text


@pytest.mark.parametrize(
    "text", ["(" * 5_000, "int |", "f()", "__import__('os')", "a.b", "|".join(["int"] * 50_000)]
)
def test_objects_that_are_not_types_equal_only_themselves(text: str) -> None:
    def service(kind: str) -> list[ServiceDescription]:
        parameters = [{"name": "a", "type": kind, "required": True}]
        method = {**METHOD, "result": "int", "parameters": parameters}
        return msgspec.convert([{**SERVICE, "methods": [method]}], list[ServiceDescription])

    assert list(changes(service(text), service(text))) == []
    assert any(not change.is_compatible for change in changes(service("Other"), service(text)))


def services(source: str) -> list[ServiceDescription]:
    """Return a server's descriptions of the services in a source."""
    module = ModuleType(f"described_{next(_numbers)}")
    sys.modules[module.__name__] = module
    exec(f"{HEAD}\n{source}", vars(module))
    found = [one for one in vars(module).values() if hasattr(one, "__fastrpc_service__")]
    return msgspec.convert([describe(one) for one in found], list[ServiceDescription])


METHOD_F = "@method\nasync def f(self, a: int) -> int: ..."


def test_a_new_alias_is_compatible_and_a_lost_one_is_not() -> None:
    other = METHOD_F.replace("@method", "@method(alias=('g',))")
    assert passes(METHOD_F, other) == ["it is called 's.g', too"]
    assert breaks(other, METHOD_F) == "it is no longer called 's.g'"


def test_a_renamed_method_that_keeps_its_old_name_is_compatible() -> None:
    renamed = "@method(alias=('f',))\nasync def better(self, a: int) -> int: ..."
    assert passes(METHOD_F, renamed) == ["it is called 's.better' now, its old name is kept"]
    narrower = renamed.replace("a: int", "a: bool")
    assert "'a' takes less: not every int is bool" in breaks(METHOD_F, narrower)


def test_a_renamed_service_that_keeps_its_old_name_is_compatible() -> None:
    body = "class S:\n    @method\n    async def f(self) -> int: ..."
    old, new = (
        services(f"@fastrpc.service('s')\n{body}"),
        services(f"@fastrpc.service('t', alias=('s',))\n{body}"),
    )
    assert list(changes(old, new)) == [
        ContractChange("s.f", "it is called 't.f' now, its old name is kept", True),
    ]
    assert [change.is_compatible for change in changes(new, old)] == [False, True]


def test_names_for_callers_in_go_are_names_that_are_kept() -> None:
    body = "class S:\n    @method\n    async def f(self) -> int: ..."
    old = services(f"@fastrpc.service('s', rpcx='go')\n{body}")
    new = services(f"@fastrpc.service('s')\n{body}")
    lost = [change.text for change in changes(old, new) if not change.is_compatible]
    assert lost == [f"it is no longer called {name!r}" for name in ("S.F", "S.f", "s.F")]


def test_the_number_of_a_field_in_protobuf_matters_to_no_other_wire() -> None:
    plain = "@dataclass\nclass Item:\n    id: int"
    numbered = plain.replace("int", "typing.Annotated[int, fastrpc.Field(7, kind='sint64')]")
    code = one(", item: Item) -> Item")
    assert passes(code, code, plain, "import typing\n" + numbered) == []
    assert passes(code, code, "import typing\n" + numbered, plain) == []
