class Output:
    """The bytes that may leave, in order."""

    @property
    def flushes(self) -> int:
        """The number of times output was taken."""
