from collections.abc import Callable, Iterable
from typing import Any, Final, final

@final
class ParameterNames:
    """The names of a method's parameters, and the numbers that identify them.

    Args:
        names: in order, without `self` and without a stream.
        spellings: further accepted names; each has the accepted names of position 0, of position 1 …
    """

    names: tuple[str, ...]
    def __init__(self, names: tuple[str, ...], spellings: Iterable[Iterable[Iterable[str]]] = ()) -> None: ...
    def number(self, count: int) -> int:
        """Return the number for the first `count` names in a REQUEST; 0 if there are too many names."""

    def takes(self, told: int) -> bool:
        """Return whether a call with this names number may start."""

MISSING: Final[object]

@final
class BoundArguments:
    """Decoded arguments that include names: call `handler(*args, **kwargs)`."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class ArgumentShape:
    """The arguments of a method, without `self` and without a stream.

    `names` are in order; the first `positional` of them may be given by position, the first `positional_only` only by
    position. `required[i]` says that `names[i]` has no default. `refuse(args, kwargs)` is called with arguments that do
    not fit and raises the TypeError of a local call. `told` has the hashes of the names for a REQUEST; `renamed` has
    the present position of each old name.
    """

    names: tuple[str, ...]
    required: tuple[bool, ...]
    positional: int
    positional_only: int
    shortest: int
    told: ParameterNames
    renamed: dict[str, int]
    refuse: Callable[[tuple[Any, ...], dict[str, Any]], None]
    def __init__(
        self,
        names: tuple[str, ...],
        required: tuple[bool, ...],
        refuse: Callable[[tuple[Any, ...], dict[str, Any]], None],
        *,
        positional: int,
        positional_only: int = 0,
        renamed: dict[str, int] | None = None,
    ) -> None: ...
    def arity_text(self, got: int) -> str:
        """Describe the number of arguments that the method takes, and the number received."""

def described_error(error: BaseException, root: str, names: tuple[str, ...], *, quotes: bool = False) -> str:
    """Turn "Expected `int`, got `str` - at `$[1].x`" into "b.x: expected `int`, got `str`".

    `root` is what `$` stands for; if it is empty, `$[n]` is the parameter names[n]. A value that the decoder quotes is
    left out unless `quotes`: a caller's value may be secret. A text of the program stays as it is.
    """

def is_of_decoder(error: BaseException) -> bool:
    """Return whether the text of an error is msgspec's own, and not the text of an exception of the program's type."""
