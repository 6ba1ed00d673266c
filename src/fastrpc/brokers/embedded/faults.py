"""Errors of a broker of this process."""

from typing import Final

from fastrpc.errors import BrokerError
from fastrpc.status import Status

__all__ = ["closed", "closed_full", "full_disk"]

#: Seconds after which a disk that was full may have room.
_FULL_SECONDS: Final = 5.0


def closed() -> BrokerError:
    """Return the error of a verb of a broker that is closed."""
    return BrokerError("the broker is closed", processed="no")


def closed_full() -> BrokerError:
    """Return the error of a change of a broker that closed while its disk was full."""
    return BrokerError("the broker closed, and may not have kept the change: there was no room on its disk")


def full_disk() -> BrokerError:
    """Return the error of a publication for which there is no room."""
    return BrokerError(
        "the disk of the broker is full",
        status=Status.RESOURCE_EXHAUSTED,
        processed="no",
        retryable=True,
        retry_after=_FULL_SECONDS,
    )
