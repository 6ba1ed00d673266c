class ConnectionPart:
    """A part of a connection. The sender is an `Output` instead."""

class FrameHandler(ConnectionPart):
    """The part that handles the opening and the frames of a reader."""

class CalleeHooks(ConnectionPart):
    """The interface of CalleeStates, the states of the peer's calls, for the parts that it holds."""

class CallerHooks(ConnectionPart):
    """The interface of CallerStates, the states of our calls, for the parts that it holds."""

class Side:
    """The decisions of one side of a connection. The default is a connection without a user."""
