class FrameHandler:
    """The part that takes the opening and the frames of a reader."""

class CalleeHooks:
    """The states of the peer's calls, for the parts that they hold."""

class CallerHooks:
    """The states of our calls, for the parts that they hold."""

class Side:
    """The decisions of one side of a connection: of a server, of a client on a loop, of a client of threads.

    No hook is common to all sides: only a server verifies credentials, and only a client ages. The default is a
    connection without a user.
    """
