"""Errors of calls of this process, told apart from those a handler means its own caller to get."""

import contextlib
from collections.abc import Iterator

from fastrpc.errors import FastRPCError

__all__ = ["own_call"]


@contextlib.contextmanager
def own_call() -> Iterator[None]:
    """Mark errors as raised by a call of this process: a handler that lets one through did not mean its own caller.

    The attempts of calls do so themselves; this is for what is awaited beside them.
    """
    try:
        yield
    except FastRPCError as error:
        error._of_own_call = True
        raise
