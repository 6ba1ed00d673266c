"""A fixed path of the HTTP gateway that keeps its requests."""

from fastrpc._core.http.path_exchange import PathExchange

__all__ = ["Place"]


class Place:
    """The page at a fixed path: keeps each request, with its body or message."""

    verbs = ("POST",)
    needs_identity = False
    takes_messages = True
    content_types = ("text/plain",)

    def __init__(self) -> None:
        self.requests: list[tuple[PathExchange, bytes]] = []

    @property
    def last(self) -> PathExchange:
        """The request that came last."""
        return self.requests[-1][0]

    def takes(self, head: object) -> bool:
        return True

    def serve(self, exchange: PathExchange, body: bytes, identity: object) -> None:
        self.requests.append((exchange, body))

    def take_message(self, exchange: PathExchange, payload: bytes, identity: object) -> None:
        self.requests.append((exchange, payload))
