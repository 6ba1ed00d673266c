from typing import Any, Final

#: Whether the handler may have run, by the number on the wire.
OUTCOMES: Final[tuple[str, ...]]
LOST_HINT: str
UNREADABLE_HINT: str
NAMES_HINT: str
OVERDUE_HINT: str
REOPEN_HINT: str
DEADLINE_HINT: str
IDLE_HINT: str
IDLE_SENDER_HINT: str

def mark_own_call(error: BaseException) -> None:
    """Mark an error as raised by a call of this process, if it is an error of fastrpc."""

def decode_details(payload: bytes, codec: int) -> Any:
    """Return the details of an error: a plain value, from JSON if the call is in JSON, else msgpack; or their bytes."""
