"""Where a process still has a secret: in objects that the collector knows, behind them, or in frames of its threads."""

import gc
import re
import sys
from types import FrameType, ModuleType
from typing import Any

__all__ = ["SECRET", "holders_of"]

#: A secret as tests plant it.
SECRET = re.compile(r"planted-[0-9a-f]{16}")


def holders_of(secret: re.Pattern[str] = SECRET) -> list[str]:
    """Return the types of the objects that hold texts or bytes with a secret; call it without a collection before."""
    in_bytes = re.compile(secret.pattern.encode())
    found: list[str] = []
    # The threads first: a frame that was looked at before keeps the variables of that time until the next look.
    waiting: list[Any] = _locals_of_threads()
    waiting += gc.get_objects()
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
                found.append(type(one).__qualname__)
    return found


def _locals_of_threads() -> list[dict[str, Any]]:
    """Return the local variables of all threads but this one."""
    found = []
    for frame in sys._current_frames().values():
        behind: FrameType | None = frame
        while behind is not None and behind.f_code is not _locals_of_threads.__code__:
            found.append(dict(behind.f_locals))
            behind = behind.f_back
    return found
