class Output:
    """The bytes that may leave, in order."""

    @property
    def flushes(self) -> int:
        """How many times output was taken."""
