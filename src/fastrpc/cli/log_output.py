"""Log records on standard error, unless the served program configures logging.

A program may configure logging at any time: on import, in the function that returns its App, in a source of services,
in a handler. So the check is repeated for every record.
"""

import logging
from collections.abc import Iterator

__all__ = ["install_logging", "lower_root_level"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

#: Records whose content `fastrpc run` prints itself.
_PRINTED = frozenset({"listening"})


class _Fallback(logging.StreamHandler):  # type: ignore[type-arg]  # it is no generic class at run time
    """Writes our records unless a handler of the program gets them."""

    #: Events whose records are left out.
    left_out = _PRINTED

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) in self.left_out:
            return
        if not any(_is_of_program(handler) for handler in _handlers_of(record)):
            super().emit(record)


class _OurLevel(int):
    """A log level set here, distinguishable from an equal one that the program sets."""


def install_logging(level: str, *, is_demanded: bool, log_format: str = "text") -> None:
    """Write our records to standard error from `level` on, and those of a program that configures no logging.

    Args:
        is_demanded: the level applies to our records even if the program configures logging.
        log_format: `text`, or `json` for an object a line with all fields.
    """
    own, others = _Fallback(), logging.StreamHandler()
    formatter = logging.Formatter(_FORMAT)
    if log_format == "json":
        # Imported on first use: text needs nothing of it.
        from fastrpc.cli.json_lines import JSONLines

        formatter = JSONLines()
        own.left_out = frozenset()
    for handler in (own, others):
        handler.setFormatter(formatter)
    own.setLevel(level.upper())
    ours = logging.getLogger("fastrpc")
    ours.addHandler(own)
    if is_demanded:
        ours.setLevel(level.upper())
    logging.lastResort = others


def lower_root_level(level: str) -> None:
    """Apply `level` to all records until the program gives the root logger a handler or a level."""
    root = logging.getLogger()
    if root.handlers or root.level != logging.WARNING:
        return
    root.setLevel(_OurLevel(logging.getLevelNamesMapping()[level.upper()]))
    add_handler = root.addHandler

    # `logging.basicConfig` without a level keeps the root logger's own. logging has no hook for new handlers, so
    # the first one is detected here.
    def notice_handler(handler: logging.Handler) -> None:
        del root.addHandler
        if isinstance(root.level, _OurLevel):
            root.setLevel(logging.WARNING)
        add_handler(handler)

    root.addHandler = notice_handler  # type: ignore[method-assign,assignment]


def _handlers_of(record: logging.LogRecord) -> Iterator[logging.Handler]:
    """Yield the handlers that get a record, whatever their levels."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _is_of_program(handler: logging.Handler) -> bool:
    return not isinstance(handler, _Fallback | logging.NullHandler)
