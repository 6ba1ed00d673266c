from typing import Any, final

from fastrpc._core.link.failure import Failure

@final
class HttpTerms:
    """The terms that a request states for its call."""

    @property
    def fault_status(self) -> int:
        """The status with which HTTP refuses the request; 0: it is not refused."""

def shown_protocol(call: Any) -> str | None:
    """Return the protocol of a call as `fastrpc dev` shows it; None: the line of the call's request shows it."""

@final
class Outcome:
    """The outcome of a call that is a part of a request."""

    def __init__(self, value: bytes | None, failure: Failure | None) -> None: ...
    @property
    def value(self) -> bytes | None:
        """The encoded result; None: the call failed."""

    @property
    def failure(self) -> Failure | None: ...
