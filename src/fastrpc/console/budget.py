"""One memory budget for the figures of all servers. When it is exceeded, the server with most figures loses counts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from fastrpc.console.kept import FLEET_BYTES, LEAST_BYTES
from fastrpc.console.servers import FleetServer

__all__ = ["FleetBudget"]


class FleetBudget:
    """Counts the memory of the figures of all servers, and keeps it below `FLEET_BYTES`.

    Args:
        servers: all servers, by their keys.
        on_cut: called with a server whose figures were dropped, and which may keep less from then on.
    """

    def __init__(self, servers: Mapping[str, FleetServer], on_cut: Callable[[FleetServer], None]) -> None:
        self._servers, self._on_cut = servers, on_cut
        #: The memory of all figures.
        self.kept_bytes = 0
        #: How often the figures of a server were dropped to make room.
        self.cuts = 0

    @contextmanager
    def changing(self, server: FleetServer) -> Iterator[None]:
        """Count by how much the memory of a server's figures changes in a block."""
        before = server.kept_bytes
        yield
        self.kept_bytes += server.kept_bytes - before
        self._make_room()

    def forget(self, server: FleetServer) -> None:
        """Stop counting a server."""
        self.kept_bytes -= server.kept_bytes

    def _make_room(self) -> None:
        while self.kept_bytes > FLEET_BYTES:
            # There are twice as many shares as servers, so that later servers find room.
            share = max(LEAST_BYTES, FLEET_BYTES // (2 * len(self._servers)))
            largest = max(self._servers.values(), key=lambda one: one.kept_bytes)
            before = largest.kept_bytes
            if before <= share:
                return
            largest.cut(share)
            self.kept_bytes += largest.kept_bytes - before
            self.cuts += 1
            self._on_cut(largest)
