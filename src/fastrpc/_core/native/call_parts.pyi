from fastrpc._core.calls.calling_part import CallingPart

class ServingPart:
    """What a connection does with calls of theirs."""

class NativeCalling(CallingPart):
    """The part of a native connection that makes calls of ours."""
