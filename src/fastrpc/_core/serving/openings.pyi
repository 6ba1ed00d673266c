from logging import Logger

from fastrpc._core.base.timed import Timed
from fastrpc._core.loop.loop_state import LoopState

logger: Logger

class Openings(Timed):
    """The connections of one server that are not through their opening yet.

    Args:
        loop: of the server.
        limit: how many may open at once before silent ones are closed (`Admission.handshakes`).
    """

    def __init__(self, loop: LoopState, limit: int) -> None: ...
    def __len__(self) -> int: ...
    @property
    def limit(self) -> int: ...
