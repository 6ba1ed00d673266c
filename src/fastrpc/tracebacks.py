"""Remove the package's own frames from tracebacks, where they would hide the lines of the program."""

import os
import types
from typing import Final, TypeVar

__all__ = ["OWN", "frames_to_program", "of_program", "shortened"]

E = TypeVar("E", bound=BaseException)

#: The environment variable whose value "full" keeps all frames of failed calls.
VARIABLE: Final = "FASTRPC_TRACEBACKS"

#: The folder of this package, and the paths that its compiled modules state: their paths in the source tree.
OWN: Final = (os.path.join(os.path.dirname(__file__), ""), "src/fastrpc/")

#: The most errors of one chain of causes that are examined.
_MOST: Final = 32


def shortened(error: E) -> E:
    """Remove our frames from the traceback of a failed call's error, and return the error to be raised again.

    Frames of interceptors, codecs and other code of the program stay. Our frames are removed from the error's causes as
    well. Call it in an `except`: a `with` block would cost time in every call.
    """
    if os.environ.get(VARIABLE) == "full":
        return error
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting and len(seen) < _MOST:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = of_program(one.__traceback__, OWN)
        waiting += [one.__cause__, one.__context__]
    return error


def of_program(
    traceback: types.TracebackType | None, folders: tuple[str, ...], *, keeps_first: bool = False
) -> types.TracebackType | None:
    """Return a traceback without the frames of files in these folders.

    Args:
        keeps_first: keep the first frame even if it is of such a file.
    """
    kept = []
    one = traceback
    while one is not None:
        is_first = one is traceback and keeps_first
        if is_first or not one.tb_frame.f_code.co_filename.startswith(folders):
            kept.append(one)
        one = one.tb_next
    last = None
    for one in reversed(kept):
        last = types.TracebackType(last, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return last


def frames_to_program() -> int:
    """Return the `stacklevel` with which a warning names the program's line. Compiled code has no frames."""
    # Imported here: few programs get such a warning.
    from inspect import currentframe

    level, frame = 0, currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(OWN):
        level, frame = level + 1, frame.f_back
    return level
