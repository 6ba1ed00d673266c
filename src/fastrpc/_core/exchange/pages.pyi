class Pages:
    """The requests of one connection beside the calls of its own protocol."""

    @property
    def takes_values(self) -> bool:
        """Whether payloads of some calls are values, not arrays of arguments."""
