"""Status codes of a call; the numbers and names are gRPC's canonical ones.

Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
"""

import enum

__all__ = ["Status"]


class Status(enum.IntEnum):
    """The outcome of a call."""

    OK = 0  # It succeeded.
    CANCELLED = 1  # The caller cancelled it.
    UNKNOWN = 2  # It failed for an unknown reason.
    INVALID_ARGUMENT = 3  # The arguments are wrong, independent of the server's state.
    DEADLINE_EXCEEDED = 4  # The deadline passed before it ended.
    NOT_FOUND = 5  # The requested thing does not exist.
    ALREADY_EXISTS = 6  # The thing to create exists already.
    PERMISSION_DENIED = 7  # The caller is authenticated but not authorized.
    RESOURCE_EXHAUSTED = 8  # A limit or a quota is used up.
    FAILED_PRECONDITION = 9  # The system must be changed before this can work.
    ABORTED = 10  # It lost a race; restart the whole transaction.
    OUT_OF_RANGE = 11  # It reached past the end of the current range.
    UNIMPLEMENTED = 12  # The server has no such method.
    INTERNAL = 13  # An invariant of the server is broken.
    UNAVAILABLE = 14  # The service cannot be reached now; a retry may help.
    DATA_LOSS = 15  # Data is lost or corrupt beyond recovery.
    UNAUTHENTICATED = 16  # The caller is not authenticated.

    def __str__(self) -> str:
        return self.name
