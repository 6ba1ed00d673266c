from typing import Any, final

from fastrpc._core.link.failure import Failure

@final
class HttpTerms:
    """A call as its HTTP request describes it."""

    @property
    def fault_status(self) -> int:
        """The HTTP status that refuses the request; 0: it has no fault."""

def shown_protocol(call: Any) -> str | None:
    """Return the protocol of a call as `fastrpc dev` shows it, or None if the line of the call's request shows it."""

@final
class Outcome:
    """The outcome of a call that is a part of a document."""

    def __init__(self, value: bytes | None, failure: Failure | None) -> None: ...
    @property
    def value(self) -> bytes | None:
        """The encoded result, or None if the call failed."""

    @property
    def failure(self) -> Failure | None: ...
