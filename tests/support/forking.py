"""Forked children of a test."""

import os
import traceback
import warnings
from collections.abc import Callable

__all__ = ["fork", "in_child"]


def fork() -> int:
    """Fork, and return the result of `os.fork`."""
    with warnings.catch_warnings():
        # From 3.12 on Python warns of forks in a process with threads, and the tests run in threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def in_child(action: Callable[[], object]) -> None:
    """Run `action` in a fork of this process; AssertionError with its traceback if it fails there."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        report = b""
        try:
            action()
        except BaseException:
            report = traceback.format_exc().encode()
        finally:
            os.write(writing, report[-4_000:])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        report = pipe.read()
    os.waitpid(child, 0)
    assert not report, report.decode()
