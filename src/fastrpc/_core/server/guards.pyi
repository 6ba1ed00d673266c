from logging import Logger
from typing import Any

from fastrpc._core.server.access import Access
from fastrpc._core.server.admission import CallAdmission
from fastrpc._core.server.call_limits import CallLimits
from fastrpc._core.server.handler_runner import HandlerRunner
from fastrpc._core.server.served_call import ServerCall
from fastrpc.rpc.identity import Identity

logger: Logger

class Guards(CallAdmission):
    """The guards of a gate: the rights of callers, and their limits."""

    #: The callers that may call each method; None: every peer may call everything.
    access: Access | None

    @property
    def limits(self) -> CallLimits | None:
        """The limits of callers."""

    def limit(self, limits: CallLimits | None) -> None:
        """Apply limits to the calls of every connection, after the callers' rights are checked; None lifts them."""

    @property
    def runner(self) -> HandlerRunner: ...
    @property
    def dispatcher(self) -> Any: ...
    @property
    def expired_unstarted(self) -> int:
        """Calls that were not started because their deadline had passed."""

    def note_late(self, call: ServerCall) -> None:
        """Answer a call whose deadline passed while its own credential is verified."""

    def conclude_access(
        self,
        call: ServerCall,
        method: str,
        names: int,
        payload: bytes,
        identity: Identity | None,
        status: int,
        seconds: float | None,
    ) -> None:
        """Go on with a call whose own credential was verified."""
