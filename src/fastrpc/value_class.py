"""Frozen dataclasses with slots, made without generated source.

`dataclass` generates and compiles the methods of each class, which took a third of a client's import time. Here all
classes share the methods. `fields`, `replace`, `asdict`, `inspect.signature`, copies and subclasses work as with a
dataclass.

All fields are set by the constructor, shown and compared. A class that needs more is refused with a TypeError: it
extends a dataclass, has an `InitVar` or a `field` with `init`, `repr`, `compare` or `hash`, or defines a method that is
provided here. `dataclass(frozen=True, slots=True)` supports all of this, and may extend a class of values.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, TypeVar, cast, dataclass_transform

__all__ = ["frozen_class", "named_value_class", "value_class"]

_Kind = TypeVar("_Kind")

#: _GIVEN: the methods that every class gets. _COMPARING: the methods that classes compared by their fields get.
_GIVEN = frozenset({"__init__", "__setattr__", "__delattr__", "__getstate__", "__setstate__"})
_COMPARING = frozenset({"__eq__", "__hash__"})


# Type checkers follow `dataclass_transform` only if it decorates a function.
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[_Kind]) -> type[_Kind]:
    """Make a class of values, like `dataclass(frozen=True, slots=True)`."""
    return _with_comparison(cls, kw_only=False)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def named_value_class(cls: type[_Kind]) -> type[_Kind]:
    """Make a class of values with keyword arguments, like `dataclass(frozen=True, kw_only=True, slots=True)`."""
    return _with_comparison(cls, kw_only=True)


def frozen_class(cls: type[_Kind], *, kw_only: bool) -> type[_Kind]:
    """Make a frozen class with slots. A comparison and a `repr` that it defines or inherits are kept.

    Raises:
        TypeError: the class needs features of a dataclass.
    """
    _check_class(cls, _GIVEN)
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
    _check_fields(made)
    # Derived dataclasses read these parameters.
    made.__dataclass_params__.init = made.__dataclass_params__.frozen = True
    made.__init__ = _initializer(made)
    made.__setattr__, made.__delattr__ = _frozen(made)
    made.__getstate__, made.__setstate__ = _state, _set_state
    return cast(type[_Kind], made)


def _check_class(cls: type[Any], given: frozenset[str]) -> None:
    """Refuse a class with inherited fields, or with its own version of a provided method."""
    for base in cls.__mro__[1:]:
        if "__dataclass_fields__" in vars(base):
            raise _refusal(cls.__qualname__, f"extends the dataclass {base.__qualname__}")
    for name in sorted(given & vars(cls).keys()):
        raise _refusal(cls.__qualname__, f"defines {name}")


def _check_fields(made: Any) -> None:
    """Refuse fields that the constructor does not set, or that are not shown or compared."""
    for one in made.__dataclass_fields__.values():
        place = f"{made.__qualname__}.{one.name}"
        if one._field_type.name == "_FIELD_INITVAR":
            raise _refusal(place, "is an InitVar")
        for option in ("init", "repr", "compare"):
            if not getattr(one, option):
                raise _refusal(place, f"has {option}=False")
        if one.hash is not None:
            raise _refusal(place, f"has hash={one.hash}")


def _refusal(place: str, text: str) -> TypeError:
    return TypeError(
        f"{place} {text}, which a class of values cannot have: write @dataclass(frozen=True, slots=True)"
    )


def _initializer(made: Any) -> Callable[..., None]:
    """Return the `__init__` of a class, with the same signature as in a dataclass."""
    signature = _signature(made)
    names = frozenset(one.name for one in fields(made))
    defaults = {one.name: one.default for one in fields(made) if one.default is not MISSING}
    factories = [
        (one.name, one.default_factory) for one in fields(made) if one.default_factory is not MISSING
    ]
    required = names - defaults.keys() - {name for name, _ in factories}
    is_checked = hasattr(made, "__post_init__")

    def initialize(self: Any, *args: Any, **values: Any) -> None:
        if args or not (required <= values.keys() <= names):
            try:
                values = signature.bind(self, *args, **values).arguments
            except TypeError as error:
                raise TypeError(f"{made.__qualname__}.__init__(): {error}") from None
            del values["self"]
        for name, factory in factories:
            if name not in values:
                values[name] = factory()
        for name, value in (defaults | values).items():
            object.__setattr__(self, name, value)
        if is_checked:
            self.__post_init__()

    initialize.__name__, initialize.__qualname__ = "__init__", f"{made.__qualname__}.__init__"
    initialize.__annotations__ = {one.name: one.type for one in fields(made)} | {"return": None}
    cast(Any, initialize).__signature__ = signature
    return initialize


class _Factory:
    """The default value that a signature shows for a field with a default factory."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


def _signature(made: Any) -> inspect.Signature:
    by_position = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    by_name: list[inspect.Parameter] = []
    for one in fields(made):
        default = _FACTORY if one.default_factory is not MISSING else one.default
        parameter = inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY if one.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if default is MISSING else default,
            annotation=one.type,
        )
        (by_name if one.kw_only else by_position).append(parameter)
    return inspect.Signature([*by_position, *by_name], return_annotation=None)


def _frozen(made: Any) -> tuple[Callable[[Any, str, Any], None], Callable[[Any, str], None]]:
    """Return the methods that refuse changes of fields. A subclass may have further, mutable attributes."""
    names = frozenset(one.name for one in fields(made))

    def refuse_value(self: Any, name: str, value: Any) -> None:
        if type(self) is made or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(made, self).__setattr__(name, value)

    def refuse_removal(self: Any, name: str) -> None:
        if type(self) is made or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(made, self).__delattr__(name)

    return refuse_value, refuse_removal


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, one.name) for one in fields(self)])


def _state(self: Any) -> list[Any]:
    return list(_values(self))


def _set_state(self: Any, state: list[Any]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


def _equals(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self))
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _with_comparison(cls: type[_Kind], *, kw_only: bool) -> type[_Kind]:
    _check_class(cls, _COMPARING)
    made = frozen_class(cls, kw_only=kw_only)
    kind: Any = made
    kind.__dataclass_params__.eq = kind.__dataclass_params__.repr = True
    kind.__eq__, kind.__hash__ = _equals, _hash
    if "__repr__" not in kind.__dict__:
        kind.__repr__ = _repr
    return made
