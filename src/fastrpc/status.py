"""Status codes of a call; the numbers and names are gRPC's canonical ones.

Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
"""

import enum

__all__ = ["Status"]


class Status(enum.IntEnum):
    """What became of a call."""

    OK = 0  # It succeeded.
    CANCELLED = 1  # The caller gave it up.
    UNKNOWN = 2  # It failed and nobody can say how.
    INVALID_ARGUMENT = 3  # The arguments can never work, whatever the state of the server.
    DEADLINE_EXCEEDED = 4  # Time ran out before it ended.
    NOT_FOUND = 5  # What it asked for does not exist.
    ALREADY_EXISTS = 6  # What it wanted to create is there already.
    PERMISSION_DENIED = 7  # The caller is known and may not do this.
    RESOURCE_EXHAUSTED = 8  # A limit or a quota is used up.
    FAILED_PRECONDITION = 9  # The system must be changed before this can work.
    ABORTED = 10  # It lost a race; start the whole transaction again.
    OUT_OF_RANGE = 11  # It went past the end of what there is now.
    UNIMPLEMENTED = 12  # There is no such method here.
    INTERNAL = 13  # The server broke a promise it made to itself.
    UNAVAILABLE = 14  # The service cannot be reached now; trying again may help.
    DATA_LOSS = 15  # Data is lost or corrupt beyond repair.
    UNAUTHENTICATED = 16  # The caller did not prove who it is.
