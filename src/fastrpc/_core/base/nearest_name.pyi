from collections.abc import Iterable

class NameIndex:
    """Names that are searched for the one that was meant."""

    def __init__(self, names: Iterable[str]) -> None: ...
    def nearest(self, name: str) -> str | None:
        """Return the name that was probably meant, None when none is near."""
