"""The options of a broker in Redis."""

from dataclasses import dataclass

__all__ = ["RedisOptions"]


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """The options of one URL."""

    #: The URL without secrets, for error texts.
    url: str
    scheme: str = "redis"

    #: The prefix of all keys.
    base: str = "fastrpc"

    #: "normal", or "full": each message survives a power cut.
    sync: str = "normal"

    #: The setting `appendfsync` of a server that does not show its settings.
    appendfsync: str | None = None

    #: Seconds after which other members get the messages of a member that does not renew its leases. If it is too low,
    #: a process that stalls loses its messages; if it is too high, the messages of a dead process wait.
    lease: float = 30.0

    #: True if topics and groups may be created and removed.
    may_create: bool = True
    has_sentinels: bool = False
