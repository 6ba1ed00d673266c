"""Decode a record again only after it has changed."""

from collections.abc import Callable, Iterable
from typing import Any

from fastrpc.registries.base.backend import Entry

__all__ = ["DecodedRecords"]


class DecodedRecords:
    """Caches the entries of the last list. A record with unchanged key and content keeps its `Endpoint` object.

    Args:
        read: decodes a record from its key and content; if it returns None, the record is omitted.
    """

    def __init__(self, read: Callable[[str, Any], Entry | None]) -> None:
        self._read = read
        self._known: dict[str, tuple[Any, Entry | None]] = {}

    def entries(self, records: Iterable[tuple[str, Any]]) -> list[Entry]:
        """Return the entries for pairs of key and content. Contents are compared by `==`."""
        before, self._known = self._known, {}
        found: list[Entry] = []
        for key, content in records:
            known = before.get(key)
            if known is None or known[0] != content:
                known = content, self._read(key, content)
            self._known[key] = known
            if known[1] is not None:
                found.append(known[1])
        return found
