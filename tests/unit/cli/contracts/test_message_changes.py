"""Which changes of a service `fastrpc contract --check --grpc` calls compatible."""

import pytest

from fastrpc.cli.contracts.check import ContractChange
from fastrpc.cli.contracts.message_changes import message_changes
from tests.unit.cli.contracts.test_check import described

HEAD = "import typing\nfrom typing import Annotated\nfrom fastrpc import Field\n"


def found(old: str, new: str, code: str = "item: Item") -> list[ContractChange]:
    """Return the changes of a method that takes and returns an item, whose class has these bodies."""
    body = f"@method\nasync def f(self, {code}) -> Item: ..."
    return list(message_changes(described(body, HEAD + old), described(body, HEAD + new)))


def item(*fields: str) -> str:
    return "@dataclass\nclass Item:\n" + "\n".join(f"    {field}" for field in fields)


def one(annotation: str, more: str = "") -> str:
    return f"{more}\n{item(f'a: {annotation}')}"


CAT = "class Cat(msgspec.Struct, tag=True):\n    x: int\nclass Dog(msgspec.Struct, tag=True):\n    y: int\n"
COW = "class Cow(msgspec.Struct, tag=True):\n    z: int\n"
IN_ONE = "Annotated[int | None, Field(oneof='x')] = None"
COLOR = "class Color(enum.Enum):\n    RED = 'r'\n    BLUE = 'b'\n"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (item("a: int", "b: str"), item("a: int"), "field 2 of the request, 'b', is gone"),
        (
            item("a: int", "b: str"),
            item("b: str", "a: int"),
            "field 1 of the request was int64, now it is string",
        ),
        (
            item("a: int", "b: str"),
            item("x: str", "a: int", "b: str"),
            "field 2 of the request was string, now",
        ),
        (item("a: int"), item("a: Annotated[int, Field(5)]"), "field 1 of the request, 'a', is gone"),
        (item("a: int"), item("a: int", "b: Cat"), "field 2 of the request, 'b', is new and has no default"),
        (one("int"), one("str"), "was int64, now it is string"),
        (one("int"), one("float"), "was int64, now it is double"),
        (one("int"), one("Annotated[int, Field(kind='sint64')]"), "was int64, now it is sint64"),
        (one("int"), one("Annotated[int, Field(kind='fixed64')]"), "was int64, now it is fixed64"),
        (one("float"), one("Annotated[float, Field(kind='float')]"), "was double, now it is float"),
        (one("bytes"), one("str"), "was bytes, now it is string"),
        (one("str"), one("bytes"), "field 1 of the answer was string, now it is bytes"),
        (one("int"), one("list[int]"), "was one value, now it is a list"),
        (
            one("int | None = None"),
            one(IN_ONE),
            "field 1 of the request was in no oneof, now it is in the oneof 'x'",
        ),
        (
            one(IN_ONE),
            one("int | None = None"),
            "field 1 of the answer was in the oneof 'x', now it is in no oneof",
        ),
        (one(IN_ONE), one(IN_ONE.replace("x", "y")), "was in the oneof 'x', now it is in the oneof 'y'"),
        (one("list[int]"), one("dict[str, int]"), "was a list, now it is a map"),
        (one("dict[str, int]"), one("dict[int, int]"), "the key of field 1 of the request was string, now"),
        (one("dict[str, int]"), one("dict[str, str]"), "the value of field 1 of the request was int64, now"),
        (
            one("Color", COLOR),
            one("Color", COLOR.replace("    BLUE = 'b'\n", "")),
            "no longer has the member BLUE = 2",
        ),
        (
            one("Color", COLOR),
            one("Color", COLOR.replace("BLUE", "GREEN")),
            "member 2 of field 1 of the request was",
        ),
        (one("Color", COLOR), one("int", COLOR), "field 1 of the answer was enum, now it is int64"),
        (one("int", COLOR), one("Color", COLOR), "field 1 of the request was int64, now it is enum"),
        (one("Cat | Dog", CAT), one("Cat", CAT), "was one of several messages, now it is one message"),
        (
            one("Cat | Dog", CAT),
            one("Dog | Cat", CAT),
            "field 1 of field 1 of field 1 of the request was 'x'",
        ),
        (
            one("datetime.datetime"),
            one("datetime.timedelta"),
            "was google.protobuf.Timestamp, now it is google",
        ),
        (one("datetime.datetime"), one("Any"), "now it is google.protobuf.Value"),
        (
            one("Cat", CAT),
            one("Cat", CAT.replace("x: int", "x: str")),
            "field 1 of field 1 of the request was int64",
        ),
    ],
)
def test_a_change_that_breaks_callers(old: str, new: str, text: str) -> None:
    old, new = (code if "class Cat" in code or "Cat" not in code else f"{CAT}\n{code}" for code in (old, new))
    texts = [change.text for change in found(old, new)]
    assert text in "\n".join(texts)
    if "was 'x'" not in text:
        assert any(text in change.text and not change.is_compatible for change in found(old, new))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (item("a: int"), item("a: int", "b: int"), "field 2 of the request, 'b', is new"),
        (item("a: int"), item("a: int", "b: list[int]"), "is new"),
        (item("a: int"), item("a: int", "b: int | None = None"), "is new"),
        (item("a: int"), item("x: int"), "was 'a', now it is 'x'; JSON has the name"),
        (item("a: int", "b: str"), item("b: Annotated[str, Field(2)]", "a: Annotated[int, Field(1)]"), ""),
        (one("int"), one("Annotated[int, Field(kind='uint32')]"), "was int64, now it is uint32"),
        (one("int"), one("bool"), "was int64, now it is bool"),
        (one("int"), one("int = 5"), ""),
        (one("int"), one("int | None"), ""),
        (one("list[int]"), one("tuple[int, ...]"), ""),
        (one("str"), one("uuid.UUID"), ""),
        (one("Color", COLOR), one("Color", COLOR + "    GREEN = 'g'\n"), "has the member GREEN = 3, too"),
        (one("Cat | Dog", CAT), one("Cat | Dog | Cow", CAT + COW), "is new"),
    ],
)
def test_a_change_that_callers_do_not_notice(old: str, new: str, text: str) -> None:
    changes = found(old, new)
    assert [change for change in changes if not change.is_compatible] == []
    assert text in "\n".join(change.text for change in changes)


def test_no_change_is_found_in_classes_that_hold_themselves() -> None:
    code = item("id: int", "next: 'Item | None' = None", "all: 'list[Item]' = field(default_factory=list)")
    assert found(code, code) == []


def test_methods_without_a_form_and_those_that_are_gone_are_left_to_the_other_rules() -> None:
    assert found(one("list[list[int]]"), one("int")) == []
    old = described("@method\nasync def f(self) -> int: ...\n@method\nasync def g(self) -> int: ...")
    new = described("@method\nasync def f(self) -> int: ...")
    assert list(message_changes(old, new)) == []


def test_parameters_are_fields_of_the_request() -> None:
    old = described("@method\nasync def f(self, a: int, b: str = '') -> int: ...")
    new = described("@method\nasync def f(self, b: str = '', a: int = 0) -> int: ...")
    assert [change.text for change in message_changes(old, new)] == [
        "by gRPC field 1 of the request was 'a', now it is 'b'; JSON has the name",
        "by gRPC field 1 of the request was int64, now it is string",
        "by gRPC field 2 of the request was 'b', now it is 'a'; JSON has the name",
        "by gRPC field 2 of the request was string, now it is int64",
    ]
