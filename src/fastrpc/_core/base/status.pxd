"""The numbers of `fastrpc.status.Status` as C constants."""

cdef enum:
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2                          # also stands for undefined numbers
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16
    HIGHEST_STATUS = 16
