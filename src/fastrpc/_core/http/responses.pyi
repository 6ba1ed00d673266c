from typing import Any

from fastrpc._core.link.failure import Failure

def http_status_of(status: int) -> int:
    """Return the HTTP status for one of our statuses."""

def problem(failure: Failure, codec: int, status: int = 0) -> dict[str, Any]:
    """Return a failure as a document of RFC 9457.

    Args: codec: the number of the codec of its details. status: the HTTP status; 0: the HTTP status of the failure's
        status.
    """
