from typing import Any, Final

from fastrpc._core.call import Call

#: Whether the handler may have run, by the number on the wire.
OUTCOMES: Final[tuple[str, ...]]

class PendingCall(Call):
    """A call of ours that waits for its answer, whoever waits: a task or a thread."""

def decode_details(payload: bytes, codec: int) -> Any:
    """Return the details of an error: a plain value of the call's codec, or its bytes when they hold none."""
