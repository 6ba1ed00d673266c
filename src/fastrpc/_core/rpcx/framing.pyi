from typing import final

from fastrpc._core.link.contract import Placing, Wire
from fastrpc._core.rpcx.frames import Profile

class RpcxFraming(Wire):
    """The frames of one connection.

    Args:
        most_frame: the most bytes of a frame that is taken.
    """

    def __init__(self, profile: Profile, most_frame: int) -> None: ...
    @property
    def profile(self) -> Profile: ...
    @property
    def frame_began_ns(self) -> int:
        """When the incomplete frame began, or 0."""

@final
class RpcxBody(Placing):
    """The long frame that is being received. A socket reads into its memory."""
