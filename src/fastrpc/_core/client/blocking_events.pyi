from typing import final

from fastrpc._core.client.blocking_stream import StreamEvents

@final
class BlockingEvents(StreamEvents):
    """The events besides answers that threads of one connection wait for, and its end."""
