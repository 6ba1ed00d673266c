from typing import final

from fastrpc._core.native.hooks import FrameHandler

@final
class FrameRouter(FrameHandler):
    """Handles the opening of a connection, and passes each frame to a part."""
