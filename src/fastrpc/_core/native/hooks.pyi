class ConnectionPart:
    """A part of a connection. The sender is an `Output` instead."""

class FrameHandler(ConnectionPart):
    """The part that takes the opening and the frames of a reader."""

class CalleeHooks(ConnectionPart):
    """The states of the peer's calls, for the parts that they hold."""

class CallerHooks(ConnectionPart):
    """The states of our calls, for the parts that they hold."""

class Side:
    """The decisions of one side of a connection. The default is a connection without a user."""
