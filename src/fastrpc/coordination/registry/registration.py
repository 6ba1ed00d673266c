"""A registration in the embedded registry: one record under one lease, in the list of one service."""

from fastrpc.errors import ConfigError
from fastrpc.registries.base.backed import check_service_name
from fastrpc.registries.base.record import RecordError, decode_record

__all__ = [
    "LONGEST_LEASE_SECONDS",
    "LONGEST_RECORD_BYTES",
    "check_lease_seconds",
    "check_record_size",
    "check_registration",
]

#: Most bytes of a record. An address, a zone, a version and a few labels take some hundred bytes.
LONGEST_RECORD_BYTES = 8_192

#: Longest lease in seconds: the record of a crashed server is removed after it.
LONGEST_LEASE_SECONDS = 3_600.0


def check_record_size(record: str) -> None:
    """Refuse a record that is too long.

    Raises:
        ValueError: the limit is exceeded; the message names it.
    """
    size = len(record.encode())
    if size > LONGEST_RECORD_BYTES:
        raise ValueError(f"the record has {size} bytes, the limit is {LONGEST_RECORD_BYTES}")


def check_lease_seconds(seconds: float) -> None:
    """Refuse a lease that is too short or too long.

    Raises:
        ValueError: the limit is exceeded; the message names it.
    """
    if not 1.0 <= seconds <= LONGEST_LEASE_SECONDS:
        raise ValueError(f"lease_seconds is {seconds}, it must be from 1 to {LONGEST_LEASE_SECONDS:g}")


def check_registration(service: str, record: str) -> str:
    """Check that a record may be in the list of a service; return its address.

    Raises:
        ValueError: the record is refused; the message has the reason.
    """
    try:
        check_service_name(service)
    except ConfigError as error:
        raise ValueError(error.message) from None
    check_record_size(record)
    try:
        return str(decode_record(record).address)
    except RecordError as error:
        raise ValueError(f"the record cannot be read: {error}") from None
