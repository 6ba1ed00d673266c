"""JSON Schemas of payload types: values that the codec carries fit the schema, and refused values do not."""

import datetime
import decimal
import enum
import ipaddress
import pathlib
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
)

import msgspec
import numpy
import pydantic
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

import fastrpc
from fastrpc.rpc.marshals import marshal_for
from fastrpc.rpc.schema.json_schema import SchemaSet, arguments_schema
from fastrpc.rpc.service import method_definition, service_definition
from fastrpc.types.base import encode_value
from tests.support.every_type import Cat, Color, Dog, EveryType, Line, Money, Node, Order, Page, Point, Row

T = TypeVar("T")

REFERENCES = "#/$defs/"


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the schema of a type, which stands alone."""
    schemas = SchemaSet(REFERENCES)
    return {**schemas.schema_of(kind), "$defs": schemas.components}


def carried(value: Any) -> Any:
    """Return a value as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=lambda one: encode_value("json", one)))


def fits(kind: Any, plain: Any) -> bool:
    schema = schema_of(kind)
    Draft202012Validator.check_schema(schema)
    try:
        Draft202012Validator(schema).validate(plain)
    except ValidationError:
        return False
    return True


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1


class Marked(TypedDict):
    queue: Required[deque[int]]
    more: NotRequired[deque[int]]


@dataclass
class Kept:
    queue: Final[deque[int]]


@dataclass
class Queue(Generic[T]):
    items: deque[T]
    inner: "deque[Queue[T]] | None" = None


NODE = Node(decimal.Decimal("1.5"), [Node(decimal.Decimal(2))], last=deque([1]), counts=Counter("aab"))

VALUES: list[tuple[Any, Any]] = [
    (bool, True),
    (int, 3),
    (float, 2.5),
    (str, "a"),
    (bytes, b"\x00\xff"),
    (None, None),
    (datetime.datetime, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)),
    (datetime.date, datetime.date(2026, 1, 2)),
    (datetime.timedelta, datetime.timedelta(seconds=90)),
    (uuid.UUID, uuid.UUID(int=7)),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (list[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (set[str], {"a"}),
    (dict[str, list[int]], {"a": [1]}),
    (dict[int, str], {1: "a"}),
    (deque[int], deque([1, 2])),
    (Counter[str], Counter("aab")),
    (Color, Color.BLUE),
    (Literal["a", 1], "a"),
    (int | str | None, None),
    (Node, NODE),
    (Point, Point(1, 2.0)),
    (Cat | Dog, Cat("long", [Color.RED])),
    (Cat | Dog, Dog("rex")),
    (Cat | None, None),
    (Row, Row("k", 2.0)),
    (Page[Node], Page([NODE])),
    (Page[int], Page([1], "2")),
    (pathlib.Path, pathlib.Path("/srv/x")),
    (ipaddress.IPv4Address, ipaddress.IPv4Address("10.0.0.1")),
    (ipaddress.IPv6Network, ipaddress.IPv6Network("::/64")),
    (Order, Order(lines=[Line(item="tea")], parent=Order(lines=[]))),
    (list[Order], [Order(lines=[])]),
    (Money, Money("12 EUR")),
    (Rights, Rights(0)),
    (Rights, Rights.READ | Rights.WRITE),
    (dict[int, str], {-7: "a", 0: "b"}),
    (dict[Color, int], {Color.RED: 1}),
    (dict[Level, int], {Level.LOW: 1}),
    (dict[Rights, int], {Rights(3): 1}),
    (dict[Literal[1, "a"], int], {1: 1, "a": 2}),
    (dict[int | str, int], {1: 1, "a": 2}),
    (Page[Literal["a", "b"]], Page(["a"])),
    (Page[Annotated[int, msgspec.Meta(ge=1)]], Page([1])),
    (Page[tuple[int, ...]], Page([(1, 2)])),
    (Page[int | None], Page([None])),
    (Marked, {"queue": deque([1])}),
    (Kept, Kept(deque([1]))),
    (Queue[int], Queue(deque([1]), deque([Queue(deque([2]))]))),
    (Any, {"a": [None]}),
    (object, 3),
    (Annotated[int, msgspec.Meta(ge=1, le=9)], 9),
    (Annotated[bytes, msgspec.Meta(min_length=2, max_length=4)], b"abcd"),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[str(kind) for kind, _ in VALUES])
def test_json_values_of_a_type_fit_its_schema(kind: Any, value: Any) -> None:
    assert fits(kind, carried(value))


WRONG: list[tuple[Any, Any]] = [
    (int, "a"),
    (int, 1.5),
    (str, 1),
    (bool, 0),
    (None, False),
    (list[int], ["a"]),
    (tuple[int, str], [1, "a", 2]),
    (tuple[int, str], [1]),
    (set[str], ["a", "a"]),
    (dict[str, int], {"a": "b"}),
    (deque[int], ["a"]),
    (Queue[int], {"items": ["a"]}),
    (Counter[str], {"a": "b"}),
    (Color, "green"),
    (Literal["a", 1], "b"),
    (Node, {"value": "1", "last": ["a"]}),
    (Node, {}),
    (Point, []),
    (Point, [1, 2, 3]),
    (Cat | Dog, {"type": "Bird"}),
    (Cat, {"type": "Cat", "longName": "a", "more": 1}),
    (Page[int], {"items": ["a"]}),
    (Order, {"lines": [{}]}),
    (Annotated[int, msgspec.Meta(ge=1, le=9)], 10),
    (Annotated[str, msgspec.Meta(pattern="^a")], "b"),
    (Annotated[list[int], msgspec.Meta(max_length=1)], [1, 2]),
    (Annotated[dict[str, int], msgspec.Meta(min_length=1)], {}),
    (dict[Annotated[str, msgspec.Meta(max_length=1)], int], {"ab": 1}),
    (dict[int, str], {"a": "b"}),
    (dict[int, str], {"01": "b"}),
    (dict[Color, int], {"green": 1}),
    (dict[Level, int], {"LOW": 1}),
    (dict[Level, int], {"2": 1}),
    (dict[Rights, int], {"READ": 1}),
    (Rights, "READ"),
    (Page[Literal["a", "b"]], {"items": ["c"]}),
    (Page[Annotated[int, msgspec.Meta(ge=1)]], {"items": [0]}),
    (Marked, {"queue": ["a"]}),
    (Kept, {"queue": ["a"]}),
]


@pytest.mark.parametrize(("kind", "plain"), WRONG, ids=[str(kind) for kind, _ in WRONG])
def test_values_that_do_not_fit_a_type_do_not_fit_its_schema(kind: Any, plain: Any) -> None:
    assert not fits(kind, plain)


def test_classes_become_components_that_are_named_once() -> None:
    schemas = SchemaSet()
    first, second = schemas.schema_of(list[Node]), schemas.schema_of(Node)
    assert first == {"type": "array", "items": {"$ref": "#/components/schemas/Node"}}
    assert second == {"$ref": "#/components/schemas/Node"}
    assert list(schemas.components) == ["Node"]
    schemas.schema_of(Order)
    schemas.schema_of(Line)
    assert list(schemas.components) == ["Node", "Line", "Order"]


def test_two_classes_of_one_name_are_two_components() -> None:
    other: Any = type("Node", (), {"__annotations__": {"x": int}})
    other = dataclass(other)
    schemas = SchemaSet()
    assert [schemas.schema_of(kind)["$ref"][-5:] for kind in (Node, other, Node)] == [
        "/Node",
        "Node2",
        "/Node",
    ]
    assert schemas.components["Node2"]["properties"] == {"x": {"type": "integer"}}


def test_docstrings_are_descriptions() -> None:
    schemas = SchemaSet()
    for kind in (Node, Color, Order, Point, Cat):
        schemas.schema_of(kind)
    texts = {name: one.get("description") for name, one in schemas.components.items()}
    assert texts["Node"] == "A node of a tree."
    assert texts["Color"] == "The colour of a thing."
    assert texts["Order"] == "The goods of an order."
    # Python writes these two itself.
    assert texts["Point"] is None
    assert texts["Cat"] is None


def test_defaults_are_reported_as_json_has_them() -> None:
    @dataclass
    class Defaults:
        place: pathlib.Path = pathlib.Path("/srv")
        amount: Money = field(default_factory=lambda: Money("0"))
        color: Color = Color.RED
        data: bytes = b"\xff"
        most: float = float("inf")
        items: list[int] = field(default_factory=list)
        nothing: int | None = None
        zoned: datetime.datetime = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        local: datetime.datetime = datetime.datetime(2026, 1, 2)  # noqa: DTZ001 - without a time zone
        clock: datetime.time = datetime.time(1)

    schemas = SchemaSet()
    schemas.schema_of(Defaults)
    told = {
        name: one.get("default", "not told")
        for name, one in schemas.components["Defaults"]["properties"].items()
    }
    assert told == {
        "place": "/srv",
        "amount": "not told",
        "color": "red",
        "data": "/w==",
        "most": "not told",
        "items": [],
        "nothing": None,
        "zoned": "2026-01-02T00:00:00Z",
        # The formats of instants have an offset.
        "local": "not told",
        "clock": "not told",
    }


def test_types_of_one_kind_of_values_say_so() -> None:
    assert schema_of(Literal[1, 2]) == {"type": "integer", "enum": [1, 2], "$defs": {}}
    assert "type" not in schema_of(Literal["a", None])
    assert "type" not in schema_of(Literal["a", 1])


def test_a_model_that_pydantic_cannot_describe_may_be_anything() -> None:
    class Held:
        pass

    class Holder(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        held: Held

    assert schema_of(Holder)["$defs"] == {"Holder": {"title": "Holder"}}


class Priced(pydantic.BaseModel):
    price: decimal.Decimal = pydantic.Field(validation_alias="taken", serialization_alias="sent")
    secret: str = pydantic.Field(default="", exclude=True)

    @pydantic.computed_field
    def total(self) -> int:
        return 2


class Branch(pydantic.BaseModel):
    leaf: Priced | Line
    branches: "list[Branch]" = []


@dataclass
class Tray:
    at: Branch
    more: "Tray | None" = None


RESULTS = [
    (Priced, Priced(taken=1), {"taken": 1}),
    (Branch, Branch(leaf=Priced(taken=1)), {"leaf": {"taken": 1}}),
    (Tray, Tray(Branch(leaf=Priced(taken=1))), {"at": {"leaf": {"taken": 1}}}),
]


@pytest.mark.parametrize(("kind", "value", "taken"), RESULTS)
def test_the_schema_of_a_result_is_the_schema_of_the_sent_value(kind: Any, value: Any, taken: Any) -> None:
    schemas = SchemaSet(REFERENCES)
    argument, result = schemas.schema_of(kind), schemas.result_schema_of(kind)
    assert Draft202012Validator(result | {"$defs": schemas.components}).is_valid(carried(value))
    assert Draft202012Validator(argument | {"$defs": schemas.components}).is_valid(taken)
    assert not Draft202012Validator(result | {"$defs": schemas.components}).is_valid(taken)
    assert "secret" not in schemas.components["Priced-Output"]["properties"]


def test_a_class_has_two_components_only_if_its_two_forms_differ() -> None:
    schemas = SchemaSet()
    for kind in (Tray, Order, Node):
        schemas.schema_of(kind)
        schemas.result_schema_of(kind)
    two = {f"{name}-{form}" for name in ("Tray", "Branch", "Priced") for form in ("Input", "Output")}
    assert set(schemas.components) == {*two, "Line", "Order", "Node"}
    assert schemas.settle({}) == {}
    assert set(schemas.components) == {*two, "Line", "Order", "Node"}


def test_a_class_in_one_form_keeps_its_name() -> None:
    schemas = SchemaSet()
    document = schemas.settle({"schema": schemas.result_schema_of(Tray)})
    assert document == {"schema": {"$ref": "#/components/schemas/Tray"}}
    assert set(schemas.components) == {"Tray", "Branch", "Priced", "Line"}
    assert "Output" not in str(schemas.components)


def test_a_discriminator_of_a_model_names_components() -> None:
    class Tabby(pydantic.BaseModel):
        kind: Literal["cat"]

    class Terrier(pydantic.BaseModel):
        kind: Literal["dog"]

    class Owner(pydantic.BaseModel):
        pet: Tabby | Terrier = pydantic.Field(discriminator="kind")

    schemas = SchemaSet()
    schemas.schema_of(Owner)
    pet = schemas.components["Owner"]["properties"]["pet"]
    assert pet["discriminator"]["mapping"]["cat"] == "#/components/schemas/Tabby"


def test_an_array_says_that_json_does_not_carry_it() -> None:
    assert "only msgpack" in schema_of(numpy.ndarray)["description"]


def test_a_class_that_does_not_travel_is_refused() -> None:
    class Alone:
        pass

    with pytest.raises(TypeError, match="Alone does not travel"):
        schema_of(Alone)


def test_arguments_are_an_object_by_name() -> None:
    class Extra(TypedDict, total=False):
        a: int

    class Pair(NamedTuple):
        a: int

    @fastrpc.service("s")
    class Service:
        @fastrpc.method
        async def f(self, a: int, b: Extra, *, c: str = "x", d: Pair | None = None) -> None: ...

    found = arguments_schema(method_definition(Service.f), SchemaSet())
    assert list(found["properties"]) == ["a", "b", "c", "d"]
    assert (found["required"], found["additionalProperties"]) == (["a", "b"], False)
    assert found["properties"]["c"] == {"type": "string", "default": "x"}


@pytest.mark.parametrize("name", [name for name in service_definition(EveryType).methods if name != "array"])
def test_each_type_of_a_parameter_that_has_a_schema_travels_as_json(name: str) -> None:
    definition = method_definition(getattr(EveryType, name))
    schemas = SchemaSet(REFERENCES)
    arguments = arguments_schema(definition, schemas)
    Draft202012Validator.check_schema({**arguments, "$defs": schemas.components})
    assert marshal_for(definition, "json", depth=10, items=100) is not None


class Urgency(enum.IntEnum):
    """How urgent it is."""

    LOW = 1
    HIGH = 2


class Word(enum.Enum):
    YES = "yes"


def test_members_of_enums_that_are_not_texts_are_named() -> None:
    assert schema_of(Urgency)["$defs"]["Urgency"] == {
        "title": "Urgency",
        "description": "How urgent it is.\n\n1 = LOW, 2 = HIGH",
        "type": "integer",
        "enum": [1, 2],
        "x-enum-varnames": ["LOW", "HIGH"],
    }
    assert schema_of(Word)["$defs"]["Word"] == {"title": "Word", "type": "string", "enum": ["yes"]}
