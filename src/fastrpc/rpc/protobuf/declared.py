"""`@fastrpc.grpc.proto(…)`: the names and numbers of protobuf that a class of Python cannot have."""

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

from fastrpc.errors import ConfigError
from fastrpc.rpc.protobuf.field import NAME

__all__ = ["Declared", "declared_of", "outer_of", "proto"]

C = TypeVar("C", bound=type[Any])

_FULL_NAME: Final = re.compile(rf"{NAME.pattern}(\.{NAME.pattern})*")
_MARK: Final = "__fastrpc_proto__"


class Declared(NamedTuple):
    """The declaration of a class."""

    #: The full name; empty: the name of the class, in the package of its service.
    name: str = ""
    #: The .proto file that defines it; empty: it is in the file of its service.
    file: str = ""
    #: Ranges of numbers, and names, that no field or value may have.
    numbers: tuple[range, ...] = ()
    names: tuple[str, ...] = ()
    #: The prefix of an enum's value names, which otherwise are as in Python; None: the name of the enum.
    prefix: str | None = None

    @property
    def own_name(self) -> str:
        """The name after the package's and the outer messages'; empty for the name of the class."""
        return self.name.rpartition(".")[2]

    @property
    def package(self) -> str:
        """The package of a class that is not nested in another class."""
        return self.name.rpartition(".")[0]


def proto(
    *,
    name: str | None = None,
    file: str | None = None,
    reserved: Iterable[int | range | str] = (),
    prefix: str | None = None,
) -> Callable[[C], C]:
    """Declare the form of a message or enum in an existing .proto file; other wires ignore it.

    Args:
        name: the full name, such as google.type.Money, where it is not the class's name in its service's package.
        file: the .proto file that defines it, such as google/type/money.proto: `fastrpc proto` imports that.
        reserved: numbers, ranges of numbers and names that no field or value may have.
        prefix: the prefix of each value name of an enum, written unchanged; without it values have the name of the
            enum, `SIZE_SMALL` of `Size.SMALL`.

    Raises:
        ConfigError: protobuf has no such name or number, or a file is given without a name.
    """
    if name is not None and not _FULL_NAME.fullmatch(name):
        raise ConfigError(f"name is {name!r}, it must be a full name such as google.type.Money")
    if file is not None and name is None:
        raise ConfigError(f"file is {file!r}, but no name is given", hint="give the full name, too")
    if prefix is not None and prefix and not NAME.fullmatch(prefix):
        raise ConfigError(f"prefix is {prefix!r}, it must be of ASCII letters, digits and `_`")
    numbers, names = _reserved(reserved)
    declared = Declared(name or "", file or "", numbers, names, prefix)

    def declare(cls: C) -> C:
        setattr(cls, _MARK, declared)
        return cls

    return declare


def _reserved(given: Iterable[int | range | str]) -> tuple[tuple[range, ...], tuple[str, ...]]:
    numbers, names = [], []
    for one in given:
        if isinstance(one, str) and NAME.fullmatch(one):
            names.append(one)
            continue
        found = range(one, one + 1) if isinstance(one, int) else one
        if not isinstance(found, range) or found.step != 1 or not found or not _are_numbers(found):
            raise ConfigError(f"reserved has {one!r}, it must be a number, a range of numbers or a name")
        numbers.append(found)
    return tuple(numbers), tuple(names)


def _are_numbers(found: range) -> bool:
    # The values of an enum have 32 bits.
    return found[0] >= -(1 << 31) and found[-1] < 1 << 31


def declared_of(cls: Any) -> Declared:
    """Return the declaration of a class itself; its subclasses do not inherit it."""
    found: Declared | None = vars(cls).get(_MARK)
    return Declared() if found is None else found


def outer_of(cls: Any) -> Any:
    """Return the class in whose body a class is defined; None for a class of a module or a function."""
    path = cls.__qualname__.split(".")[:-1]
    found: Any = sys.modules.get(cls.__module__)
    if not path or "<locals>" in path:
        return None
    for name in path:
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    return found if isinstance(found, type) and vars(found).get(cls.__name__) is cls else None
