"""Recent events of a process for its admin pages: failed or slow calls, and log records of level WARNING or above."""

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

#: The most calls (MOST_CALLS) and the most log records (MOST_RECORDS) that are kept.
MOST_CALLS = 256
MOST_RECORDS = 1_000

#: The most bytes of JSON of all kept log records, which limit the length of the page. Usual records need a third.
MOST_BYTES = 512 * 1024

#: A successful call is kept too if it took at least this many seconds.
SLOW_SECONDS = 1.0

#: The most characters that are kept of the text of a log record, and of a name.
LONGEST_TEXT = 2_000


class LogRing(KeepingHandler):
    """Keeps the last log records of level WARNING or above, as rows of the page.

    Only the class of an exception and the place where it was raised are kept, because its text may contain arguments of
    a call.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: deque[dict[str, Any]] = deque()
        # `_sizes`: the bytes of each record. `_size`: the bytes of all records together.
        self._sizes: deque[int] = deque()
        self._size = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:
            # Formatting may raise an error, which other handlers report.
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
        """Keep a row; drop the oldest rows if there are too many bytes."""
        size = len(json.dumps(row))
        self._sizes.append(size)
        self._size += size
        self.records.append(row)
        while len(self.records) > MOST_RECORDS or self._size > MOST_BYTES:
            self.records.popleft()
            self._size -= self._sizes.popleft()


def _shown(text: str) -> str:
    """Return a text with invisible characters escaped, truncated if it is too long."""
    return printable(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…")


def _place_of(error: BaseException) -> str:
    """Return the class of an error, and the place where it was raised."""
    name = type(error).__qualname__
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    if not frames:
        return _shown(name)
    last = frames[0]
    return _shown(f"{name} in {last.name} ({last.filename}:{last.lineno})")


class Recent:
    """The recent events of this process, from `begin` to `end`.

    Args:
        of_all_loggers: True to keep records of all loggers, not only of fastrpc's loggers.
    """

    def __init__(self, *, of_all_loggers: bool = False) -> None:
        self._of_all_loggers = of_all_loggers
        self._calls = EndedCalls(MOST_CALLS)
        self._ring = LogRing()
        # Reverses `begin`.
        self._ending: Callable[[], None] | None = None

    def log_beside(self, own: CallLog | None) -> CallLog:
        """Return the log to which a server reports the end of each call, for this page and its access log."""
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
        """Return the calls that failed or took a second or more, newest first."""
        rows = [dict(zip(FIELDS_OF_ENDED, one, strict=True)) for one in reversed(list(self._calls.calls))]
        return {"total": len(rows), "ended": rows}

    def records(self) -> dict[str, Any]:
        """Return the log records, newest first."""
        # Copying a deque is atomic, and other threads log at the same time.
        rows = self._ring.records.copy()
        rows.reverse()
        return {"total": len(rows), "logs": list(rows)}


def _heard_everywhere(ring: LogRing) -> Callable[[], None]:
    """Pass all records that any logger accepts to a ring; return the function that ends this.

    A handler of the root logger would change the program: `logging.basicConfig` would do nothing, and the handler of
    last resort would not be used. A handler of the root logger would also miss records of loggers that do not
    propagate.
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
        # Another library may have replaced the function in the meantime.
        if logging.Logger.callHandlers is call_handlers:
            logging.Logger.callHandlers = before  # type: ignore[method-assign]

    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]
    return end
