"""The open files that a relay may have: each connection is one."""

import logging
import resource
import sys
from typing import Final

__all__ = ["FEW", "FEWEST", "descriptor_limit", "raise_descriptor_limit"]

logger = logging.getLogger("fastrpc.relay")

#: Free descriptors below which callers are refused: servers can still claim names and open data connections.
FEW: Final = 64
#: Free descriptors below which all connections are refused: with no free descriptor, the system would drop connections
#: without a trace.
FEWEST: Final = 16


def descriptor_limit() -> int:
    """Return the limit of descriptors of this process. A new descriptor gets the lowest free number below it."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit(needed: int) -> None:
    """Raise this process's limit to the descriptors that it needs, or to the most that the system allows."""
    if descriptor_limit() >= needed:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed:
        logger.warning(
            "the system allows %s open files, and the limits of the relay need %s: connections beyond them are refused",
            f"{most:,}",
            f"{needed:,}",
        )
