"""Kinds of types and defaults, each with classes, values, and a change that breaks or changes it."""

from typing import NamedTuple

__all__ = ["EVERY", "HEAD", "IMPORTS", "Kind"]

HEAD = """
import collections, dataclasses, datetime, decimal, enum, functools, ipaddress, pathlib, typing, uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from typing import (
    Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, Required, TypedDict, TypeVar, Union
)
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
import fastrpc

T = TypeVar("T")
U = TypeVar("U")
HEAD_LIST = list
"""


class Kind(NamedTuple):
    """One kind of type."""

    #: The type of the parameter and of the result, and the classes in it.
    type: str
    #: Expressions of values, valid in the source and in the contract.
    values: list[str]
    #: A change of the type or of its classes, as a text and the text in its place.
    change: tuple[str, str]
    classes: str = ""
    default: str = ""


def struct(fields: str, options: str = "") -> str:
    return f"class X(Struct{options}):\n" + "".join(f"    {line}\n" for line in fields.split("; "))


def data(fields: str, options: str = "") -> str:
    return f"@dataclass{options}\nclass X:\n" + "".join(f"    {line}\n" for line in fields.split("; "))


def scalar(kind: str, value: str, other: str = "None") -> Kind:
    return Kind(kind, [value], (f"value: {kind}", f"value: {other}"))


IMPORTS = "import datetime, decimal, uuid, pathlib, ipaddress, collections, msgspec"

KINDS: dict[str, Kind] = {
    # Values without parts
    "bool": scalar("bool", "True"),
    "int": scalar("int", "2**63", "str"),
    "float": scalar("float", "1.5", "int"),
    "str": scalar("str", "'ä'", "bytes"),
    "bytes": scalar("bytes", "b'\\0'", "str"),
    "bytearray": scalar("bytearray", "bytearray(b'x')", "str"),
    "None": scalar("None", "None", "int"),
    "any": scalar("Any", "{'a': [1, None]}", "int"),
    "datetime": scalar(
        "datetime.datetime", "datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)", "datetime.date"
    ),
    "date": scalar("datetime.date", "datetime.date(2020, 1, 1)", "datetime.time"),
    "time": scalar("datetime.time", "datetime.time(1, 2)", "datetime.date"),
    "timedelta": scalar("datetime.timedelta", "datetime.timedelta(seconds=1.5)", "float"),
    "uuid": scalar("uuid.UUID", "uuid.UUID(int=1)", "str"),
    "decimal": scalar("Decimal", "decimal.Decimal('1.50')", "float"),
    "path": scalar("pathlib.PurePosixPath", "pathlib.PurePosixPath('/a')", "str"),
    "address": scalar("ipaddress.IPv4Address", "ipaddress.IPv4Address('127.0.0.1')", "ipaddress.IPv6Address"),
    # Containers
    "list": scalar("list", "[1, 'a']", "list[int]"),
    "list of": scalar("list[int]", "[1]", "list[str]"),
    "typing.List": Kind("typing.List[int]", ["[1]"], ("List[int]", "List[str]")),
    "bare typing.Dict": Kind("typing.Dict", ["{'a': 1}"], ("typing.Dict", "list")),
    "set": scalar("set[str]", "{'a'}", "set[int]"),
    "frozenset": scalar("frozenset[int]", "frozenset({1})", "frozenset[str]"),
    "tuple": scalar("tuple[int, str]", "(1, 'a')", "tuple[int, str, int]"),
    "row": scalar("tuple[int, ...]", "(1, 2)", "tuple[str, ...]"),
    "empty tuple": scalar("tuple[()]", "()", "tuple[int]"),
    "dict": scalar("dict[str, int]", "{'a': 1}", "dict[str, str]"),
    "dict by int": scalar("dict[int, uuid.UUID]", "{1: uuid.UUID(int=1)}", "dict[str, uuid.UUID]"),
    "sequence": scalar("Sequence[int]", "[1]", "Sequence[str]"),
    "mutable sequence": scalar("MutableSequence[int]", "[1]", "MutableSequence[str]"),
    "collection": scalar("Collection[int]", "[1]", "Collection[str]"),
    "abstract set": scalar("Set[int]", "{1}", "Set[str]"),
    "mutable set": scalar("MutableSet[int]", "{1}", "MutableSet[str]"),
    "mapping": scalar("Mapping[str, int]", "{'a': 1}", "Mapping[str, str]"),
    "mutable mapping": scalar("MutableMapping[str, int]", "{'a': 1}", "MutableMapping[str, str]"),
    "deque": scalar("deque[int]", "collections.deque([1])", "deque[str]"),
    "counter": scalar("Counter[str]", "collections.Counter('aab')", "Counter[int]"),
    # Choices
    "union": scalar("int | str", "'a'", "int"),
    "typing.Union": scalar("Union[int, list[str], None]", "['a']", "Union[int, None]"),
    "optional": scalar("Optional[int]", "None", "int"),
    "literal": scalar('Literal["a", 1, None]', "1", 'Literal["a", None]'),
    "literal with quotes": scalar("Literal['\"', \"'\"]", "'\"'", "Literal['\"']"),
    "new type": Kind(
        "UserID",
        ["3"],
        ("NewType('UserID', int)", "NewType('UserID', str)"),
        "UserID = NewType('UserID', int)",
    ),
    "alias": Kind("Rows", ["[[1]]"], ("list[list[int]]", "list[list[str]]"), "Rows = list[list[int]]"),
    # Constraints
    "bound": Kind("Annotated[int, Meta(ge=1, le=9)]", ["5"], ("le=9", "le=8")),
    "strict bound": Kind("Annotated[float, Meta(gt=0.5, lt=2)]", ["1.0"], ("gt=0.5", "gt=0.75")),
    "multiple": Kind("Annotated[int, Meta(multiple_of=4)]", ["8"], ("multiple_of=4", "multiple_of=3")),
    "length": Kind(
        "Annotated[str, Meta(min_length=1, max_length=3)]", ["'ab'"], ("min_length=1", "min_length=2")
    ),
    "pattern": Kind("Annotated[str, Meta(pattern='^[a-z]\"$')]", ["'a\"'"], ("[a-z]", "[a-y]")),
    "zone": Kind(
        "Annotated[datetime.datetime, Meta(tz=True)]",
        ["datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)"],
        ("tz=True", "tz=False"),
    ),
    "bound inside": Kind("list[Annotated[int, Meta(ge=1)]] | None", ["[1]"], ("ge=1", "ge=2")),
    "float of 32 bits": Kind(
        "Annotated[float, fastrpc.Float32]", ["0.5"], ("Annotated[float,", "Annotated[int,")
    ),
    "bound of 32 bits": Kind(
        "list[Annotated[float, fastrpc.Float32, Meta(ge=0.5)]]", ["[0.5]"], ("ge=0.5", "ge=0.75")
    ),
    "title alone": Kind("Annotated[int, Meta(title='x')]", ["1"], ("Annotated[int,", "Annotated[str,")),
    # Enums
    "enum": Kind("X", ["X.A"], ("A = 'a'", "A = 'b'"), "class X(Enum):\n    A = 'a'\n"),
    "enum of numbers": Kind("X", ["X.A"], ("A = 1", "A = 2"), "class X(Enum):\n    A = 1\n"),
    "int enum": Kind("X", ["X.A"], ("A = 1", "A = 2"), "class X(IntEnum):\n    A = 1\n"),
    "str enum": Kind("X", ["X.A"], ("A = 'a'", "A = 'b'"), "class X(StrEnum):\n    A = 'a'\n"),
    "str and enum": Kind("X", ["X.A"], ("(str, Enum)", "(Enum)"), "class X(str, Enum):\n    A = 'a'\n"),
    "int flag": Kind(
        "X", ["X.R", "X.R | X.W"], ("W = 2", "W = 4"), "class X(IntFlag):\n    R = 1\n    W = 2\n"
    ),
    "flag": Kind("X", ["X.R | X.W"], ("W = 2", "W = 4"), "class X(Flag):\n    R = 1\n    W = 2\n"),
    "enum with an alias": Kind("X", ["X.B"], ("B = 1", "B = 2"), "class X(Enum):\n    A = 1\n    B = 1\n"),
    "keys of an enum": Kind(
        "dict[X, int]", ["{X.A: 1}"], ("A = 'a'", "A = 'b'"), "class X(Enum):\n    A = 'a'\n"
    ),
    # Dataclasses
    "dataclass": Kind("X", ["X(1)", "X(a=1)"], ("a: int", "a: str"), data("a: int")),
    "frozen dataclass": Kind("X", ["X(1)"], ("frozen=True", "frozen=False"), data("a: int", "(frozen=True)")),
    "keys of a frozen class": Kind(
        "set[X]", ["{X(1)}"], ("a: int", "a: str"), data("a: int", "(frozen=True)")
    ),
    "ordered dataclass": Kind(
        "X", ["max(X(1), X(2))"], ("order=True", "order=False"), data("a: int", "(order=True)")
    ),
    "dataclass by name": Kind(
        "X", ["X(b=1)"], ("b: int", "b: str"), data("a: int = 0; b: int", "(kw_only=True)")
    ),
    "field by name": Kind(
        "X",
        ["X(1, b=2)"],
        ("field(kw_only=True)", "3"),
        data("a: int; b: int = field(kw_only=True); c: int = 4"),
    ),
    "dataclass with slots": Kind("X", ["X(1)"], ("a: int", "a: str"), data("a: int", "(slots=True)")),
    "empty dataclass": Kind("X", ["X()"], ("class X:\n    pass", "class X:\n    a: int"), data("pass")),
    "inherited dataclass": Kind(
        "Y", ["Y(1, 2)"], ("b: int", "b: str"), data("a: int") + "@dataclass\nclass Y(X):\n    b: int\n"
    ),
    "field that is not given": Kind(
        "X", ["X(1)"], ("a: int", "a: str"), data("a: int; b: int = field(default=3, init=False)")
    ),
    "field that the class sets": Kind(
        "list[X]", ["[]"], ("a: int", "a: str"), data("a: int; b: int = field(init=False)")
    ),
    # Structs
    "struct": Kind("X", ["X(1)"], ("a: int", "a: str"), struct("a: int")),
    "frozen struct": Kind(
        "X",
        ["X(1)", "{X(1): 1}.popitem()[0]"],
        ("frozen=True", "frozen=False"),
        struct("a: int", ", frozen=True"),
    ),
    "tagged structs": Kind(
        "X | Y",
        ["X(1)", "Y(1)"],
        ("tag=True", "tag='x'"),
        struct("a: int", ", tag=True") + "class Y(Struct, tag='why'):\n    a: int\n",
    ),
    "numbered structs": Kind(
        "X", ["X(1)"], ("tag=7", "tag=8"), struct("a: int", ", tag=7, tag_field='kind'")
    ),
    "struct as a row": Kind(
        "X", ["X(1, 'a')"], ("b: str", "b: int"), struct("a: int; b: str = ''", ", array_like=True")
    ),
    "closed struct": Kind(
        "X", ["X(1)"], ("a: int", "a: str"), struct("a: int", ", forbid_unknown_fields=True")
    ),
    "struct without defaults": Kind(
        "X", ["X()", "X(2)"], ("a: int", "a: str"), struct("a: int = 1", ", omit_defaults=True")
    ),
    "renamed struct": Kind(
        "X", ["X(1)"], ("'camel'", "'kebab'"), struct("long_name: int", ", rename='camel'")
    ),
    "renamed field": Kind(
        "X", ["X(1)"], ("name='b'", "name='c'"), struct("a: int = msgspec.field(name='b')")
    ),
    "struct by name": Kind(
        "X", ["X(b=1)"], ("b: int", "b: str"), struct("a: int = 0; b: int", ", kw_only=True")
    ),
    "struct partly by name": Kind(
        "Y",
        ["Y(1, b=2)", "Y(a=1, b=2, c=3)"],
        ("b: int", "b: str"),
        struct("a: int") + "class Y(X, kw_only=True):\n    c: int = 0\n    b: int\n",
    ),
    "unset field": Kind("X", ["X()", "X(1)"], ("a: int", "a: str"), struct("a: int | UnsetType = UNSET")),
    # Typed dicts and named tuples
    "typed dict": Kind("X", ["{'a': 1}"], ("a: int", "a: str"), "class X(TypedDict):\n    a: int\n"),
    "partial typed dict": Kind(
        "X",
        ["{'a': 1}", "{'a': 1, 'b': 2}"],
        ("Required[int]", "int"),
        "class X(TypedDict, total=False):\n    a: Required[int]\n    b: int\n",
    ),
    "optional key": Kind(
        "X", ["{}"], ("NotRequired[int]", "int"), "class X(TypedDict):\n    a: NotRequired[int]\n"
    ),
    "keys that are no names": Kind(
        "X", ["{'a-b': 1}"], ("'a-b'", "'a-c'"), "X = TypedDict('X', {'a-b': int, 'class': NotRequired[int]})"
    ),
    "named tuple": Kind(
        "X",
        ["X(1)", "X(1, 2.0)"],
        ("b: float", "b: str"),
        "class X(NamedTuple):\n    a: int\n    b: float = 0.5\n",
    ),
    "old named tuple": Kind("X", ["X(1, 'a')"], ("'a b'", "'a c'"), "X = collections.namedtuple('X', 'a b')"),
    # Classes in each other
    "nested": Kind(
        "Y", ["Y(X(1))"], ("a: int", "a: str"), data("a: int") + "@dataclass\nclass Y:\n    x: X\n"
    ),
    "recursive": Kind(
        "X",
        ["X([X([])])"],
        ("a: ", "b: "),
        "@dataclass(frozen=True)\nclass X:\n    a: 'list[\"X\"]'\n",
    ),
    "recursive struct": Kind(
        "X", ["X(X())"], ("= None", "= UNSET"), "class X(Struct):\n    a: 'X | None' = None\n"
    ),
    "each in the other": Kind(
        "X",
        ["X(Y(None))"],
        ("x: 'X | None'", "x: 'X | int'"),
        "class X(Struct):\n    y: 'Y'\nclass Y(Struct):\n    x: 'X | None'\n",
    ),
    "field named like its type": Kind(
        "X",
        ["X()", "X(datetime.date(2020, 1, 1), [1])"],
        ("List[int]", "List[str]"),
        data(
            "date: 'datetime.date | None' = None; other: 'typing.List[int]' = field(default_factory=list); "
            "list: 'typing.List[int]' = field(default_factory=list); last: 'typing.List[int]' = field("
            "default_factory=HEAD_LIST)"
        ),
    ),
    "own class named date": Kind(
        "date", ["date(1)"], ("a: int", "a: str"), "class date(Struct):\n    a: int\n"
    ),
    "own class beside its namesake": Kind(
        "dict[str, date | None] | list[datetime.date]",
        ["{'a': date(1)}", "[datetime.date(2020, 1, 1)]"],
        ("a: int", "a: str"),
        "class date(Struct):\n    a: int\n",
    ),
    "own class named Protocol": Kind(
        "Protocol", ["Protocol(1)"], ("a: int", "a: str"), "class Protocol(Struct):\n    a: int\n"
    ),
    "own class named dataclass": Kind(
        "dataclass", ["dataclass(1)"], ("a: int", "a: str"), "@dataclass\nclass dataclass:\n    a: int\n"
    ),
    "two classes of one name": Kind(
        "tuple[X, Other]",
        [],
        ("b: str", "b: int"),
        data("a: int") + "Other = X\n" + data("b: str") + "X, Other = Other, X\n",
    ),
    # Generics
    "generic struct": Kind(
        "X[int]", ["X(1)", "X[int](1)"], ("X[int]", "X[str]"), "class X(Struct, Generic[T]):\n    a: T\n"
    ),
    "generic dataclass": Kind(
        "X[int, str]",
        ["X(1, ['a'])"],
        ("a: T", "c: T"),
        "@dataclass\nclass X(Generic[T, U]):\n    a: T\n    b: list[U]\n",
    ),
    "generic typed dict": Kind(
        "X[int]", ["{'a': 1}"], ("X[int]", "X[str]"), "class X(TypedDict, Generic[T]):\n    a: T\n"
    ),
    "generic named tuple": Kind(
        "X[int]", ["X(1)"], ("X[int]", "X[str]"), "class X(NamedTuple, Generic[T]):\n    a: T\n"
    ),
    "generic in itself": Kind(
        "X[int]",
        ["X(1, [X(2)])"],
        ("a: T", "a: list[T]"),
        "class X(Struct, Generic[T]):\n    a: T\n    b: 'list[X[T]]' = []\n",
    ),
    "generic of a class": Kind(
        "X[Y]",
        ["X(Y(1))"],
        ("b: int", "b: str"),
        "class X(Struct, Generic[T]):\n    a: T\nclass Y(Struct):\n    b: int\n",
    ),
    "generic with a bound": Kind(
        "X",
        ["X(1)"],
        ("bound=int", "bound=str"),
        "V = TypeVar('V', bound=int)\nclass X(Struct, Generic[V]):\n    a: V\n",
    ),
    "subclass of a generic": Kind(
        "Y",
        ["Y(1)"],
        ("X[int]", "X[str]"),
        "class X(Struct, Generic[T]):\n    a: T\nclass Y(X[int]):\n    pass\n",
    ),
    "two arguments": Kind(
        "tuple[X[int], X[str]]",
        ["(X(1), X('a'))"],
        ("X[str]", "X[int]"),
        "class X(Struct, Generic[T]):\n    a: T\n",
    ),
}

#: Defaults of a field, with a change of each; the field is followed by one with a plain default.
DEFAULTS: dict[str, tuple[str, str, str]] = {
    "None": ("int | None", "None", "1"),
    "number": ("int", "-3", "4"),
    "fraction": ("float", "0.5", "1.5"),
    "infinity": ("float", "float('inf')", "0.0"),
    "text": ("str", "'it\\'s \"so\"'", "'x'"),
    "bytes": ("bytes", "b'\\0\"'", "b''"),
    "enum": ("Color", "Color.RED", "Color.BLUE"),
    "int enum": ("Level", "Level.LOW", "Level.HIGH"),
    "flags": ("Right", "Right.R | Right.W", "Right.R"),
    "decimal": ("Decimal", "Decimal('1.50')", "Decimal(1)"),
    "timedelta": ("datetime.timedelta", "datetime.timedelta(days=-1, seconds=2.5)", "datetime.timedelta(1)"),
    "no time": ("datetime.timedelta", "datetime.timedelta()", "datetime.timedelta(1)"),
    "date": ("datetime.date", "datetime.date(2020, 1, 2)", "datetime.date(2020, 1, 1)"),
    "time": ("datetime.time", "datetime.time(1, 2, 3)", "datetime.time()"),
    "datetime": (
        "datetime.datetime",
        "datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)",
        "datetime.datetime(2020, 1, 1)",
    ),
    "zone": (
        "datetime.datetime",
        "datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))",
        "datetime.datetime(2020, 1, 1)",
    ),
    "uuid": ("uuid.UUID", "uuid.UUID(int=5)", "uuid.UUID(int=6)"),
    "tuple": ("tuple[int, ...]", "(1, 2)", "(1,)"),
    "one": ("tuple[str, ...]", "('a',)", "()"),
    "tuple of members": ("tuple[Color, ...]", "(Color.RED,)", "(Color.BLUE,)"),
    "no tuple": ("tuple[int, ...]", "()", "(1,)"),
    "frozenset": ("frozenset[int]", "frozenset({1, 2})", "frozenset()"),
    "path": ("pathlib.PurePosixPath", "pathlib.PurePosixPath('/a')", "pathlib.PurePosixPath('/b')"),
    "address": ("ipaddress.IPv6Address", "ipaddress.IPv6Address('::1')", "ipaddress.IPv6Address('::2')"),
}
#: The same for defaults of which each object has a copy, by their factory.
FACTORIES = {
    "list": ("list[int]", "list", "lambda: [1]"),
    "dict": ("dict[str, int]", "dict", "lambda: {}"),
    "set": ("set[int]", "set", "lambda: {1}"),
    "deque": ("deque[int]", "deque", "lambda: deque([1])"),
    "unknown": ("uuid.UUID", "lambda: uuid.UUID(int=1)", "NOTHING"),
    "function": ("list[int]", "lambda: [1, 2]", "NOTHING"),
}
ENUMS = """
class Color(Enum):
    RED = 'red'
    BLUE = 'blue'
class Level(IntEnum):
    LOW = 1
    HIGH = 2
class Right(IntFlag):
    R = 1
    W = 2
"""
#: Kinds of classes with a field that has this default.
FORMS = {
    "dataclass": "@dataclass{options}\nclass X:\n    first: int\n    a: {type} = {default}\n    last: int = 9\n",
    "struct": "class X(Struct):\n    first: int\n    a: {type} = {default}\n    last: int = 9\n",
    "named_tuple": "class X(NamedTuple):\n    first: int\n    a: {type} = {default}\n    last: int = 9\n",
}
MADE = {
    "dataclass": "field(default_factory={})",
    "struct": "msgspec.field(default_factory={})",
}


def kinds() -> dict[str, Kind]:
    """Return all kinds, kinds of defaults too."""
    found = dict(KINDS)
    for form, text in FORMS.items():
        for name, (kind, default, other) in DEFAULTS.items():
            classes = ENUMS + text.format(type=kind, default=default, options="")
            found[f"{form}, default {name}"] = Kind(
                "X", ["X(1)", "X(1, last=2)"], (f"= {default}\n", f"= {other}\n"), classes
            )
        for name, (kind, factory, other) in FACTORIES.items() if form in MADE else ():
            classes = text.format(type=kind, default=MADE[form].format(factory), options="")
            change = (f"default_factory={factory}", f"default_factory={other}")
            if other == "NOTHING":
                change = (f"a: {kind}", "a: float")
            found[f"{form}, made {name}"] = Kind("X", ["X(1)", "X(1, last=2)"], change, classes)
    return found


EVERY = kinds()
