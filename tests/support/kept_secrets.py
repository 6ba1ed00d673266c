"""Places where a process still has a secret: objects of the collector, their contents, and frames of its threads."""

import gc
import re
import sys
import threading
from types import FrameType, ModuleType
from typing import Any

__all__ = ["SECRET", "holders_of"]

#: A secret as tests plant it.
SECRET = re.compile(r"planted-[0-9a-f]{16}")


def holders_of(secret: re.Pattern[str] = SECRET) -> list[str]:
    """Return the types of the objects, of frames their functions, that hold texts or bytes with a secret."""
    in_bytes = re.compile(secret.pattern.encode())
    found: list[str] = []
    waiting: list[Any] = [*_frames_of_threads(), *gc.get_objects()]
    seen = {id(one) for one in waiting}
    seen |= {id(waiting), id(seen), id(found)}
    while waiting:
        one = waiting.pop()
        for held in gc.get_referents(one):
            if id(held) in seen or isinstance(held, ModuleType):
                continue
            seen.add(id(held))
            if isinstance(held, str):
                has_secret = secret.search(held) is not None
            elif isinstance(held, bytes | bytearray):
                has_secret = in_bytes.search(held) is not None
            else:
                waiting.append(held)
                continue
            if has_secret:
                place = f" of {one.f_code.co_qualname}" if isinstance(one, FrameType) else ""
                found.append(type(one).__qualname__ + place)
    return found


def _frames_of_threads() -> list[FrameType]:
    """Return the frames of all other threads. A look at their `f_locals` would keep a copy of all variables.

    The frame of the search would keep itself, and the secret that it has found.
    """
    found = []
    for thread, frame in sys._current_frames().items():
        behind: FrameType | None = None if thread == threading.get_ident() else frame
        while behind is not None:
            found.append(behind)
            behind = behind.f_back
    return found
