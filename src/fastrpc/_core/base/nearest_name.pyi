from collections.abc import Iterable

class NameIndex:
    """Names to search for the nearest one."""

    def __init__(self, names: Iterable[str]) -> None: ...
    def nearest(self, name: str) -> str | None:
        """Return the nearest name, None if none is near."""
