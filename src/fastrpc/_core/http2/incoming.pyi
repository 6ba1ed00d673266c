from typing import final

@final
class Http2Control:
    """The frames of the connection itself, the budgets against floods, and the drain."""

@final
class Http2Incoming:
    """Frames cut from the bytes, heads checked, and the windows that the peer may fill."""
