"""The options of a broker over NATS, except servers and logins."""

from dataclasses import dataclass

__all__ = ["NatsOptions"]


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """The options of one URL."""

    #: The prefix of all names of streams and subjects.
    base: str = "fastrpc"

    #: Whether streams and consumers that are missing are made.
    manages: bool = True

    #: Copies of each stream.
    replicas: int = 1

    #: Seconds after which a message that no member renews is delivered again.
    lease_seconds: int = 30

    #: "normal", or "full": the server syncs each message before it acknowledges it.
    sync: str = "normal"

    #: The monitoring addresses of all servers, as URLs.
    monitors: tuple[str, ...] = ()
