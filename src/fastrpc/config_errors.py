"""Show an error at the line of the program with the mistake, without our own frames, which would hide that line.

This applies to every ConfigError and to the errors of an unavailable address.
"""

import os
import types
from typing import Final, TypeVar

from fastrpc.errors import ConfigError
from fastrpc.tracebacks import OWN, of_program

__all__ = ["ShownAtProgram", "mark_shown_at_program", "shown_at_program"]

E = TypeVar("E", bound=Exception)

#: Folders whose frames have nothing to do with the mistake: this package, and the loops that run it.
_INNER: Final = (*OWN, os.path.join(os.path.dirname(os.__file__), "asyncio"), "uvloop")

#: The attribute that marks errors, other than ConfigErrors, which are shown in the same way.
_MARK: Final = "_is_shown_at_program"


class ShownAtProgram:
    """Remove our own frames from the traceback of a ConfigError or a marked error that leaves the block.

    Frames of the program below ours stay, such as frames of a function that makes a service.

    Args:
        hides_block: leave out the frame that holds the block as well.
    """

    __slots__ = ("_hides_block",)

    def __init__(self, *, hides_block: bool = False) -> None:
        self._hides_block = hides_block

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if error is not None and (isinstance(error, ConfigError) or hasattr(error, _MARK)):
            error.__traceback__ = of_program(traceback, _INNER, keeps_first=not self._hides_block)


def mark_shown_at_program(error: Exception) -> None:
    """Mark an error, so that `ShownAtProgram` removes our own frames from its traceback, too."""
    setattr(error, _MARK, True)


def shown_at_program(error: E) -> E:
    """Remove our own frames from an error's traceback and return the error, to be raised again.

    Use it in an `except` where a `with` block would slow down every call.
    """
    return error.with_traceback(of_program(error.__traceback__, _INNER))
