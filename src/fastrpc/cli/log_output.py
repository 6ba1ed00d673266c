"""Log records on standard error, as long as the program that is served configures no logging of its own."""

import logging

__all__ = ["install_logging", "leave_logging"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

#: What `fastrpc run` prints anyway.
_PRINTED = frozenset({"listening"})


class _Fallback(logging.StreamHandler):  # type: ignore[type-arg]  # it is no generic class at run time
    """Writes our records unless the program has handlers of its own, which get them as well."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers and getattr(record, "event", None) not in _PRINTED:
            super().emit(record)


def install_logging(level: str) -> None:
    """Write our records to standard error, and those of a program that configures no logging.

    The root logger is left alone, so that `logging.basicConfig` of the program does what it does everywhere else.
    """
    formatter = logging.Formatter(_FORMAT)
    own, others = _Fallback(), logging.StreamHandler()
    for handler in (own, others):
        handler.setFormatter(formatter)
    ours = logging.getLogger("fastrpc")
    ours.addHandler(own)
    ours.setLevel(level.upper())
    logging.lastResort = others


def leave_logging(level: str, *, is_demanded: bool) -> None:
    """Leave logging to a program that has configured it by now; `level` counts in others, and where it was demanded."""
    root, ours = logging.getLogger(), logging.getLogger("fastrpc")
    if not root.handlers:
        root.setLevel(level.upper())
    elif not is_demanded and ours.level == getattr(logging, level.upper()):
        ours.setLevel(logging.NOTSET)
