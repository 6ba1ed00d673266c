"""Classes of values are those that `dataclass` makes, but for the way they are made."""

import copy
import dataclasses
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, InitVar, dataclass, field
from typing import Any, ClassVar, get_type_hints

import pytest

from fastrpc import Backoff, ClientConfig, ConfigError, Limits, Pool
from fastrpc.limits import RateLimit
from fastrpc.value_class import frozen_class, named_value_class, value_class


class Point:
    """A point."""

    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list, compare=True)
    name: str = field(default="here", kw_only=True)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is below 0")


def copied(kind: type[Any], number: int) -> type[Any]:
    """Return a separate class with the same body."""
    body = {name: value for name, value in vars(kind).items() if name not in {"__dict__", "__weakref__"}}
    return type(f"Point{number}", (), body)


Ours: Any = value_class(copied(Point, 1))
Theirs: Any = dataclass(frozen=True, slots=True)(copied(Point, 1))


def outcome(kind: Any, *args: Any, **values: Any) -> Any:
    """Return the values of an object, or the kind of its error."""
    try:
        made = kind(*args, **values)
    except Exception as error:
        return type(error)
    return dataclasses.astuple(made), repr(made)


ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, 3), {}),
    ((1, 3, ["a"]), {"name": "there"}),
    ((), {"x": 1}),
    ((), {"y": 5, "x": 1, "name": "n", "tags": ["b"]}),
    ((), {}),
    ((1,), {"x": 1}),
    ((1, 2, [], "name"), {}),
    ((1,), {"z": 1}),
    ((-1,), {}),
]


@pytest.mark.parametrize("number", range(len(ARGUMENTS)))
def test_constructor_takes_and_refuses_the_same_arguments_as_a_dataclass(number: int) -> None:
    args, values = ARGUMENTS[number]
    found = outcome(Ours, *args, **values)
    assert found == outcome(Theirs, *args, **values)


def test_a_refused_argument_is_named_with_its_class() -> None:
    with pytest.raises(TypeError, match=r"Point1\.__init__\(\): got an unexpected keyword argument 'z'"):
        Ours(1, z=1)


def test_signature_matches_a_dataclass() -> None:
    assert str(inspect.signature(Ours)) == str(inspect.signature(Theirs))
    assert str(inspect.signature(Ours.__init__)) == str(inspect.signature(Theirs.__init__))
    assert get_type_hints(Ours.__init__) == get_type_hints(Theirs.__init__)
    assert get_type_hints(Ours) == get_type_hints(Theirs)


def test_fields_and_parameters_are_as_in_a_dataclass() -> None:
    assert [(one.name, one.type, one.kw_only) for one in dataclasses.fields(Ours)] == [
        (one.name, one.type, one.kw_only) for one in dataclasses.fields(Theirs)
    ]
    assert Ours.__match_args__ == Theirs.__match_args__
    assert Ours.__slots__ == Theirs.__slots__
    ours, theirs = Ours.__dataclass_params__, Theirs.__dataclass_params__
    for name in ("init", "repr", "eq", "order", "frozen"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_objects_cannot_be_changed() -> None:
    point = Ours(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'other'"):
        point.other = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    assert point.x == 1


def test_lists_of_two_objects_are_not_shared() -> None:
    assert Ours(1).tags is not Ours(1).tags


def test_equal_objects_are_of_one_class() -> None:
    assert Ours(1, 2) == Ours(1, 2)
    assert Ours(1, 2) != Ours(1, 3)
    assert Ours(1) != Theirs(1)
    assert hash(Ours(1, 2, ())) == hash(Ours(1, 2, ())) == hash(Theirs(1, 2, ()))


def test_replaced_values_are_checked() -> None:
    assert dataclasses.replace(Ours(1), y=4).y == 4
    with pytest.raises(ValueError, match="below 0"):
        dataclasses.replace(Ours(1), x=-1)


def test_a_subclass_may_have_attributes_of_its_own() -> None:
    class Named(Ours):  # type: ignore[misc]
        """Has a place for further attributes."""

    named = Named(1)
    named.label = "a"
    assert named.label == "a"
    with pytest.raises(FrozenInstanceError):
        named.x = 2


def test_a_frozen_dataclass_may_extend_one() -> None:
    @dataclass(frozen=True)
    class Further(RateLimit):
        note: str = "none"

    made = Further(1.0, 2, note="some")
    assert (made.rate, made.burst, made.per, made.note) == (1.0, 2, "server", "some")
    assert made == Further(1.0, 2, note="some") != Further(1.0, 2)
    with pytest.raises(ConfigError):
        Further(-1.0, 2)


def test_a_named_value_class_takes_nothing_by_position() -> None:
    @named_value_class
    class Options:
        seconds: float = 1.0

    assert Options(seconds=2.0).seconds == 2.0
    with pytest.raises(TypeError, match=r"Options\.__init__\(\): too many positional arguments"):
        Options(2.0)  # type: ignore[misc]


class Base:
    x: int = 1


@pytest.mark.parametrize("base", [value_class(copied(Base, 3)), dataclass(copied(Base, 4))])
@pytest.mark.parametrize("make", [value_class, named_value_class])
def test_a_class_that_extends_another_one_is_refused(base: Any, make: Any) -> None:
    class Further(base):  # type: ignore[misc]
        y: int = 2

    with pytest.raises(
        TypeError, match=rf"Further extends the dataclass {base.__qualname__}, which .* cannot"
    ):
        make(Further)


def test_a_class_may_extend_one_without_fields() -> None:
    class Named:
        __slots__ = ()

        def name(self) -> str:
            return type(self).__name__

    @value_class
    class Further(Named):
        y: int = 2
        most: ClassVar[int] = 5

    assert (Further(3).y, Further().name(), Further.most) == (3, "Further", 5)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (field(default=1, compare=False), "compare=False"),
        (field(default=1, repr=False), "repr=False"),
        (field(default=1, init=False), "init=False"),
        (field(default=1, hash=False), "hash=False"),
        (field(default=1, hash=True), "hash=True"),
    ],
)
@pytest.mark.parametrize("make", [value_class, lambda cls: frozen_class(cls, kw_only=True)])
def test_a_field_that_its_methods_would_not_heed_is_refused(make: Any, given: Any, text: str) -> None:
    cls = type("Odd", (), {"__annotations__": {"x": int}, "x": given})
    with pytest.raises(
        TypeError, match=rf"Odd\.x has {text}, which .* @dataclass\(frozen=True, slots=True\)"
    ):
        make(cls)


def test_a_value_for_the_constructor_alone_is_refused() -> None:
    class Odd:
        x: InitVar[int]

    with pytest.raises(TypeError, match=r"Odd\.x is an InitVar"):
        value_class(Odd)


@pytest.mark.parametrize(
    "name", ["__init__", "__eq__", "__hash__", "__setattr__", "__delattr__", "__getstate__"]
)
def test_a_method_that_would_be_replaced_is_refused(name: str) -> None:
    cls = type("Odd", (), {"__annotations__": {"x": int}, name: lambda *_: None})
    with pytest.raises(TypeError, match=rf"Odd defines {name}"):
        value_class(cls)


def test_a_class_may_have_its_own_repr() -> None:
    @value_class
    class Short:
        x: int

        def __repr__(self) -> str:
            return "short"

    assert repr(Short(1)) == "short"


@pytest.mark.parametrize(
    "value", [Backoff(first=0.5), Pool(), ClientConfig(limits=Limits(depth=7)), RateLimit(1.0, 2)]
)
def test_settings_survive_copies_and_pickling(value: Any) -> None:
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(value, protocol)) == value


def our_classes() -> Iterator[type[Any]]:
    """Yield the settings and the other public classes of values."""
    for package in ("config", "limits", "auth.policy", "auth.verdict", "transports.base"):
        module = importlib.import_module(f"fastrpc.{package}")
        found = [
            importlib.import_module(f"{module.__name__}.{one.name}")
            for one in pkgutil.iter_modules(getattr(module, "__path__", ()))
        ]
        for each in [module, *found]:
            for kind in list(vars(each).values()):
                if (
                    isinstance(kind, type)
                    and dataclasses.is_dataclass(kind)
                    and kind.__module__ == each.__name__
                ):
                    yield kind


@pytest.mark.parametrize("kind", list(our_classes()), ids=lambda kind: str(kind.__name__))
def test_each_class_states_its_fields_and_defaults_to_inspectors(kind: type[Any]) -> None:
    parameters = inspect.signature(kind).parameters
    assert list(parameters) == [one.name for one in dataclasses.fields(kind)]
    hints = get_type_hints(kind)
    for one in dataclasses.fields(kind):
        assert one.name in hints
        default = parameters[one.name].default
        if one.default is not dataclasses.MISSING:
            assert default == one.default
        elif one.default_factory is not dataclasses.MISSING:
            assert repr(default) == "<factory>"
        else:
            assert default is inspect.Parameter.empty
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
