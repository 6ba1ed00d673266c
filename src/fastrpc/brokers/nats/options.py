"""The options of a broker over NATS, except servers and logins."""

from dataclasses import dataclass

__all__ = ["NatsOptions"]


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """The options of one URL."""

    #: The prefix of all names of streams and subjects.
    base: str = "fastrpc"

    #: True if missing streams and consumers are created.
    manages: bool = True

    #: The number of copies of each stream.
    replicas: int = 1

    #: Seconds after which a message whose lease is not renewed is delivered again.
    lease_seconds: int = 30

    #: "normal", or "full": the server syncs each message before it acknowledges it.
    sync: str = "normal"

    #: The monitoring addresses of all servers, as URLs.
    monitors: tuple[str, ...] = ()
