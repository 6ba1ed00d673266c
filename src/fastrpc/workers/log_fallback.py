"""Log records on standard error, for programs that do not configure logging.

A program may configure logging at any time: on import, in the function that returns its App, in a source, in a handler.
So handlers are looked up for every record.
"""

import contextlib
import logging
from collections.abc import Iterator

from fastrpc.escaping import KeepingHandler, UnheardErrors

__all__ = ["LOG_FORMAT", "FallbackHandler", "fallback_logging"]

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class FallbackHandler(logging.StreamHandler):  # type: ignore[type-arg]  # it is not a generic class at run time
    """Writes records of fastrpc that no handler of the program gets."""

    #: Names of the events that are not written.
    left_out: frozenset[str] = frozenset()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) in self.left_out:
            return
        if not any(_is_of_program(handler) for handler in _handlers_of(record)):
            super().emit(record)


@contextlib.contextmanager
def fallback_logging() -> Iterator[None]:
    """Inside the block write fastrpc's warnings and errors to standard error, unless the program has handlers."""
    handler = FallbackHandler()
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.setLevel(logging.WARNING)
    ours = logging.getLogger("fastrpc")
    if any(isinstance(known, FallbackHandler) for known in ours.handlers):
        # The command line has its own handler, with another level.
        yield
        return
    ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)


def _handlers_of(record: logging.LogRecord) -> Iterator[logging.Handler]:
    """Yield the handlers that get a record, with any level."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _is_of_program(handler: logging.Handler) -> bool:
    return not isinstance(handler, FallbackHandler | UnheardErrors | KeepingHandler | logging.NullHandler)
