"""The options of a broker in Redis."""

from dataclasses import dataclass

__all__ = ["RedisOptions"]


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """The options of one URL."""

    #: For errors, without secrets.
    url: str
    scheme: str = "redis"

    #: The first part of all keys.
    base: str = "fastrpc"

    #: "full": each message survives a power cut.
    sync: str = "normal"

    #: The setting of a server that does not show it.
    appendfsync: str | None = None

    #: Seconds after which others get the messages of a member that does not renew them.
    #: Too low, and a process that stalls loses its messages; too high, and the messages of a dead process wait.
    lease: float = 30.0

    #: Whether topics and groups may be made and removed.
    may_create: bool = True
    has_sentinels: bool = False
