"""A build without a line for each file: `pip install -v` would print 2,655 of them around its progress."""

import logging

__all__ = ["leave_out_files"]

#: The beginnings of messages about one file or one folder, in setuptools and in its part that writes wheels.
_FILES = ("%s %s -> %s", "copying %s", "creating %s", "adding %r")


def leave_out_files() -> None:
    """Drop these messages from now on; warnings stay."""
    for name in (None, "wheel"):
        logging.getLogger(name).addFilter(_is_wanted)


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not str(record.msg).startswith(_FILES)
