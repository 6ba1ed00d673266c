"""The mark on errors of calls that this process makes, as opposed to errors a handler raises for its caller."""

import contextlib
from collections.abc import Iterator

from fastrpc.errors import FastRPCError

__all__ = ["own_call"]


@contextlib.contextmanager
def own_call() -> Iterator[None]:
    """Mark errors as raised by a call of this process: a handler that lets one through did not mean it for its caller.

    Attempts of calls mark their errors themselves; this context is for other awaits of a client.
    """
    try:
        yield
    except FastRPCError as error:
        error._of_own_call = True
        raise
