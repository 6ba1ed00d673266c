from fastrpc._core.calls.calling_part import CallingPart

class ServingPart:
    """The part of a connection that serves the peer's calls."""

class NativeCalling(CallingPart):
    """The part of a native connection that makes our calls."""
