from logging import Logger

from fastrpc._core.base.timed import Timed
from fastrpc._core.serving.admission import Admission

logger: Logger

class Openings(Timed):
    """The connections of one server that are not through their opening yet.

    Args:
        admission: of the server.
        limit: how many may open at once before silent ones are closed (`Admission.handshakes`).
        connections: how many there may be in all (`Limits.connections`).
    """

    def __init__(self, admission: Admission, limit: int, connections: int) -> None: ...
    def __len__(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def refused_connections(self) -> int:
        """Connections that were one too many."""
