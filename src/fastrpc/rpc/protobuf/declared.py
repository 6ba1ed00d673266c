"""`@fastrpc.grpc.proto(…)`: the protobuf names and numbers that a Python class cannot express."""

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

    #: The full name; "" means the name of the class, in the package of its service.
    name: str = ""
    #: The .proto file that defines the class; "" means the file of its service.
    file: str = ""
    #: Numbers and names that no field or value may have.
    numbers: tuple[range, ...] = ()
    names: tuple[str, ...] = ()
    #: The prefix of an enum's value names, before the names in Python; None means the name of the enum.
    prefix: str | None = None

    @property
    def own_name(self) -> str:
        """The name without the package and outer messages; "" means the name of the class."""
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
    """Declare the names and numbers that a class has in an existing .proto file. Other protocols ignore them.

    Args:
        name: the full name, such as google.type.Money, if it is not the class's name in its service's package.
        file: the .proto file that defines the class, such as google/type/money.proto. `fastrpc proto` imports this
            file.
        reserved: numbers, ranges of numbers and names that no field or value may have.
        prefix: the prefix of an enum's value names, used unchanged. By default it is the name of the enum: `Size.SMALL`
            becomes `SIZE_SMALL`.

    Raises:
        ConfigError: a name or number is invalid in protobuf, or a file is given without a name.
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
    # A signed value of an enum has 32 bits.
    return found[0] >= -(1 << 31) and found[-1] < 1 << 31


def declared_of(cls: Any) -> Declared:
    """Return the declaration of a class. Subclasses do not inherit declarations."""
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
