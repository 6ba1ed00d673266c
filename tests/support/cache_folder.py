"""The folder of the programs that tests download and build once."""

import contextlib
import fcntl
from collections.abc import Iterator

from tests.support.source_tree import ROOT

__all__ = ["CACHE", "alone"]

CACHE = ROOT / ".cache"


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold back the other processes of a run that build the same."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
