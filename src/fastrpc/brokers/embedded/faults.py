"""Errors of an embedded broker."""

from typing import Final

from fastrpc.errors import BrokerError
from fastrpc.status import Status

__all__ = ["closed", "closed_full", "full_disk"]

#: Seconds after which a publication that found the disk full may be tried again.
_FULL_SECONDS: Final = 5.0


def closed() -> BrokerError:
    """Return the error of a call of a closed broker."""
    return BrokerError("the broker is closed", processed="no")


def closed_full() -> BrokerError:
    """Return the error of a change that was not kept because the broker closed while its disk was full."""
    return BrokerError("the broker closed, and may not have kept the change: there was no room on its disk")


def full_disk() -> BrokerError:
    """Return the error of a publication for which the disk has no space."""
    return BrokerError(
        "the disk of the broker is full",
        status=Status.RESOURCE_EXHAUSTED,
        processed="no",
        retryable=True,
        retry_after=_FULL_SECONDS,
    )
