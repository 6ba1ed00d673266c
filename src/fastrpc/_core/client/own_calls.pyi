from collections.abc import Callable
from typing import Any, final

from fastrpc._core.native.call_parts import NativeCalling
from fastrpc._core.native.connection import Connection

@final
class OwnCalls(NativeCalling):
    """The calls of ours on one connection."""

def watch_calls(session: Connection, endpoint: Any, ended: Callable[[], object]) -> bool:
    """Let calls of ours be sent on a connection; return whether they may be now.

    Args:
        endpoint: the other side's name in errors, unless the connection makes calls already.
        ended: called without arguments, once, when no new calls may go out any more.
    """
