from fastrpc._core.base.output_buffer import OutputBuffer

class Output(OutputBuffer):
    """The bytes that may be sent, in order."""

    @property
    def flushes(self) -> int:
        """The number of times output was taken."""
