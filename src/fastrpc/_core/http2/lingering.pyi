from typing import final

@final
class LingeringStreams:
    """The streams of a connection that stay half-closed for a while after our end."""
