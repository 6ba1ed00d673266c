"""The level and the format of log records on standard error, unless the served program configures logging."""

import logging

from fastrpc.escaping import OwnLastResort
from fastrpc.workers.log_fallback import LOG_FORMAT, FallbackHandler

__all__ = ["install_logging", "lower_root_level"]

#: Messages of log records whose content `fastrpc run` prints already.
_PRINTED = frozenset({"listening"})


class _OurLevel(int):
    """A log level that this module set, distinguishable from an equal level that the program sets."""


def install_logging(level: str, *, is_demanded: bool, log_format: str = "text") -> None:
    """Write fastrpc's records from `level` on to standard error, and all records if the program configures no logging.

    Args:
        is_demanded: whether the level applies to fastrpc's records even if the program configures logging.
        log_format: `text`, or `json` for one object per line with all fields.
    """
    own, others = FallbackHandler(), OwnLastResort()
    own.left_out = _PRINTED
    formatter = logging.Formatter(LOG_FORMAT)
    if log_format == "json":
        # Imported on first use: text output does not need it.
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

    # `logging.basicConfig` without a level keeps the root logger's level. logging has no hook for new handlers, so the
    # first handler is detected here.
    def notice_handler(handler: logging.Handler) -> None:
        del root.addHandler
        if isinstance(root.level, _OurLevel):
            root.setLevel(logging.WARNING)
        add_handler(handler)

    root.addHandler = notice_handler  # type: ignore[method-assign,assignment]
