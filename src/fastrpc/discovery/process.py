"""The servers of this process, for clients in it: a table, without a thread and without a file."""

import os

from fastrpc.registries.static import StaticRegistry

__all__ = ["process_table"]


class _Table:
    """The table of a process; after a fork the child begins with an empty one."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self.registry = StaticRegistry({})


_tables: list[_Table] = []


def process_table() -> StaticRegistry:
    """Return the registry of this process, which stays open."""
    if not _tables or _tables[-1].process_id != os.getpid():
        _tables[:] = [_Table()]
    return _tables[-1].registry
