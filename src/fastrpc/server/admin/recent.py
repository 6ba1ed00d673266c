"""Recent events of a process for its admin pages: calls that failed or were slow, and log records from WARNING on."""

import json
import logging
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from fastrpc._core.calls.call_log import FIELDS_OF_ENDED, CallLog, EndedCalls
from fastrpc.escaping import KeepingHandler, printable

__all__ = ["LogRing", "Recent"]

#: Calls and log records that are kept.
MOST_CALLS = 256
MOST_RECORDS = 1_000

#: Most bytes of JSON of all kept log records; usual records take a third of this. It bounds the length of the page.
MOST_BYTES = 512 * 1024

#: Seconds from which on a successful call is kept as well.
SLOW_SECONDS = 1.0

#: Characters of the longest text of a log record, and of the longest name, that are kept.
LONGEST_TEXT = 2_000


class LogRing(KeepingHandler):
    """Keeps the last log records from WARNING on, as rows of the page.

    Of an exception only the class is kept, and the place where it was raised: the text may hold arguments of a call.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: deque[dict[str, Any]] = deque()
        # The bytes of each record, and of all records.
        self._sizes: deque[int] = deque()
        self._size = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:
            # Formatting an argument may raise, and so may a message that is not a text; other handlers report the
            # error.
            text = (
                record.msg
                if isinstance(record.msg, str)
                else f"a record with {type(record.msg).__qualname__}"
            )
        error = None if not record.exc_info else record.exc_info[1]
        self._keep(
            {
                "time": record.created,
                "level": _shown(record.levelname),
                "logger": _shown(record.name),
                "text": _shown(text),
                "exception": None if error is None else _place_of(error),
            }
        )

    def _keep(self, row: dict[str, Any]) -> None:
        """Keep a row; if room is missing, drop the oldest rows."""
        size = len(json.dumps(row))
        self._sizes.append(size)
        self._size += size
        self.records.append(row)
        while len(self.records) > MOST_RECORDS or self._size > MOST_BYTES:
            self.records.popleft()
            self._size -= self._sizes.popleft()


def _shown(text: str) -> str:
    """Return a text with its invisible characters escaped, cut if it is too long."""
    return printable(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…")


def _place_of(error: BaseException) -> str:
    """Return the class of an error, and where it was raised."""
    name = type(error).__qualname__
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    if not frames:
        return _shown(name)
    last = frames[0]
    return _shown(f"{name} in {last.name} ({last.filename}:{last.lineno})")


class Recent:
    """The recent events of this process, from `begin` to `end`.

    Args:
        of_all_loggers: whether records of all loggers are kept, not only the package's.
    """

    def __init__(self, *, of_all_loggers: bool = False) -> None:
        self._of_all_loggers = of_all_loggers
        self._calls = EndedCalls(MOST_CALLS)
        self._ring = LogRing()
        # A function that reverses `begin`.
        self._ending: Callable[[], None] | None = None

    def log_beside(self, own: CallLog | None) -> CallLog:
        """Return the log of a server that gets the ends of calls for this page, and for its access log."""
        log = CallLog(self._calls.write, 0.0, SLOW_SECONDS)
        log.beside = own
        log.makes_ids = own is not None and own.makes_ids
        return log

    def begin(self) -> None:
        """Keep records from now on."""
        if self._of_all_loggers:
            self._ending = _heard_everywhere(self._ring)
        else:
            ours = logging.getLogger("fastrpc")
            ours.addHandler(self._ring)
            self._ending = partial(ours.removeHandler, self._ring)

    def end(self) -> None:
        """Stop keeping records. Ending twice is allowed."""
        ending, self._ending = self._ending, None
        if ending is not None:
            ending()

    def calls(self) -> dict[str, Any]:
        """Return the calls that failed or took a second, the newest first."""
        rows = [dict(zip(FIELDS_OF_ENDED, one, strict=True)) for one in reversed(list(self._calls.calls))]
        return {"total": len(rows), "ended": rows}

    def records(self) -> dict[str, Any]:
        """Return the log records, the newest first."""
        # A copy of a deque is atomic: other threads log meanwhile.
        rows = self._ring.records.copy()
        rows.reverse()
        return {"total": len(rows), "logs": list(rows)}


def _heard_everywhere(ring: LogRing) -> Callable[[], None]:
    """Give a ring the records that pass the filters of any logger, and return the function that ends this.

    A handler of the root logger would disturb the program: `logging.basicConfig` would do nothing, and records without
    another handler would not reach the last resort. Handlers of other loggers may miss records, as a logger need not
    propagate them.
    """
    before = logging.Logger.callHandlers
    is_ended = False

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        if record.levelno >= ring.level and not is_ended:
            ring.handle(record)
        before(self, record)

    def end() -> None:
        nonlocal is_ended
        is_ended = True
        # Another library may have replaced the function meanwhile.
        if logging.Logger.callHandlers is call_handlers:
            logging.Logger.callHandlers = before  # type: ignore[method-assign]

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]
    return end
