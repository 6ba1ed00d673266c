from collections.abc import Callable
from typing import Any, final

from fastrpc._core.native.call_parts import NativeCalling
from fastrpc._core.native.connection import Connection

@final
class OwnCalls(NativeCalling):
    """The calls that this side makes on one connection."""

def watch_calls(session: Connection, endpoint: Any, ended: Callable[[], object]) -> bool:
    """Let this side make calls on a connection; return whether it takes calls now.

    Args:
        endpoint: the other side's name in errors, unless the connection makes calls already.
        ended: called without arguments, once, when no new calls may go out any more.
    """
