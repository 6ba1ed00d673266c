class KeyTable:
    """A word for each of at most 10,000 keys, in memory of a fixed size that forked processes share.

    Names are kept as a hash under a secret of this process. A word at or below the caller's idle value is worthless:
    its place may be given to another key.
    """

    @property
    def taken(self) -> int:
        """Places that belong to a key."""

    def place_of(self, name: bytes, idle: int = 0) -> int | None:
        """Return the place of a name, a new one if needed; None for the word that all names without a place share."""

    def set_word(self, place: int | None, value: int) -> None:
        """Set the word of a place; None: the shared one.

        Raises:
            IndexError: there is no such place.
        """
