"""The access log: one record per call on the logger `fastrpc.access`."""

import logging
import math
from typing import Any

from fastrpc._core.calls.call import Call
from fastrpc._core.calls.call_log import AccessRecords, CallLog, request_id_of
from fastrpc.errors import ConfigError
from fastrpc.rpc.interceptor import Proceed
from fastrpc.status import Status

__all__ = ["AccessLog"]

logger = logging.getLogger("fastrpc.access")


class AccessLog:
    """Log each call once, at its end, on the logger `fastrpc.access`.

    ::

        Server(Arith, interceptors=[AccessLog(sample=0.01, slow_seconds=0.5)])

    A record has these fields: `side`, `service`, `method`, `status`, `peer`, `identity`, `duration_ms`, `bytes` (of all
    payloads), `trace_id` and `request_id`. A field without a value is None. A stream is one call.

    Calls that a handler makes have the request id of the handler's own call, in the metadata entry `frpc-request-id`.
    An id from the caller is kept if it consists of 1 to 128 letters, digits, `.`, `_` or `-`.

    On a server the log runs outside all interceptors, whatever its position in the list. Calls that are refused before
    interceptors run are not logged.

    Args:
        level: the level of the records, a number or a name such as `"debug"`.
        sample: the share of calls that are logged. Calls with the same request id are logged by all servers or by none.
        slow_seconds: calls that take at least this long are always logged, and so are calls that fail.

    Raises:
        ConfigError: an argument has another type or is out of range.
    """

    def __init__(
        self, level: int | str = logging.INFO, sample: float = 1.0, slow_seconds: float | None = None
    ) -> None:
        records = AccessRecords(logger, _checked_level(level), __file__)
        if not _is_number(sample) or not 0 <= sample <= 1:
            raise ConfigError(f"AccessLog.sample is {sample!r}, it must be a number from 0 to 1")
        if slow_seconds is not None and not (_is_number(slow_seconds) and 0 <= slow_seconds < 1e9):
            raise ConfigError(
                f"AccessLog.slow_seconds is {slow_seconds!r}, it must be a number of seconds or None"
            )
        #: A server calls this log directly at the end of each call, and does not run this object as an interceptor.
        self._call_log = CallLog(records.write, sample, slow_seconds)

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        """Run and log a call. Used by clients, and by interceptors of a program that call this object."""
        if call.side == "client":
            request_id_of(call)  # From here on the id travels with the call.
        try:
            return await proceed(call)
        finally:
            status = Status.CANCELLED if call.status is None else call.status
            self._call_log.note_end(call, status)


def _checked_level(level: int | str) -> int:
    """Return a level as a number."""
    known = logging.getLevelNamesMapping()
    if isinstance(level, str) and level.upper() in known:
        return known[level.upper()]
    if isinstance(level, int) and not isinstance(level, bool) and level >= 0:
        return level
    raise ConfigError(
        f"AccessLog.level is {level!r}, it must be a level of `logging`",
        hint='such as logging.INFO or "debug"',
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
